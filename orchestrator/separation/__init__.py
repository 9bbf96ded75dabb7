"""Voice / background separation on this machine: one media file in, one file per stem out.

An engine (``engines``) turns blocks of 44.1 kHz stereo into blocks of the voice; the background is
the mixture minus the voice. Decoding, resampling and encoding (``media``) are streams, so memory
does not grow with the file. ``separate.separate_file`` separates one file, and
``install.fetch.fetch_engine`` installs the default engine.
"""
