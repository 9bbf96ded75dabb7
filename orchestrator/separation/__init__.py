"""Voice / background separation on this machine: media in, two stems out.

An engine is "44.1 kHz stereo float blocks in, voice blocks out" (``engine``). Decoding, resampling, the residual
(background = mixture - voice) and encoding stay outside of it and stream, so that memory does not grow with the file.
``job.separate_file`` is the whole way of one file; ``fetch.fetch_engine`` installs the default engine.
"""
