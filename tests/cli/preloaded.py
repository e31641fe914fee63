"""All that commands load, loaded once: forked.py's server of processes begins with it."""

import gc
import importlib
import pkgutil

import app.cli
import app.cli.application
import app.models
import app.service.service
from app import garbage

for module in pkgutil.iter_modules(app.cli.__path__):
    if module.name != "__main__":
        importlib.import_module(f"app.cli.{module.name}")
app.models.load_all()
gc.collect()
gc.freeze()
garbage.look_seldom(garbage.WORKER_THRESHOLD)
