"""One thread for torch: small tensors are faster so, and tests share their machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
