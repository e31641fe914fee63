"""All that commands, workers and servers load, loaded once: forked.py's server of processes begins with it.

No definitions: each process loads those that its settings name.
"""

import gc
import importlib
import pkgutil

import uvloop

import app.cli
import app.cli.application
import app.main
import app.models
import app.service.service
import workers.main
from app import garbage

assert uvloop
assert workers
for module in pkgutil.iter_modules(app.cli.__path__):
    if module.name != "__main__":
        importlib.import_module(f"app.cli.{module.name}")
app.models.load_all()
gc.collect()
gc.freeze()
garbage.look_seldom(garbage.WORKER_THRESHOLD)
