"""Runs a program as a client, under the name that the worker knows it by: ``client.py PROGRAM ...``."""

from __future__ import annotations

import asyncio
import importlib
import sys

if __name__ == "__main__":
    asyncio.run(importlib.import_module(sys.argv[1]).main())
