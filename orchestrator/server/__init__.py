"""Embedded service: Tencent CI and COS on loopback, with real separation behind it.

Other rooms need only ``service.LocalService`` and ``settings``. Reading order: ``service`` (the
parts), ``app`` (the path of a request), ``api`` (the calls), ``jobs`` and ``workers`` (the work),
``storage`` (the objects), ``faults`` and ``api.control`` (rehearsal).
"""
