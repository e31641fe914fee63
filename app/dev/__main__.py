"""``python -m app.dev``: the same as ``taskloom dev``."""

import sys

from app.dev.supervisor import run_dev
from app.settings import get_settings

sys.exit(run_dev(get_settings()))
