"""``python -m cco_sidecar`` is ``cco``."""

from cco_sidecar.cli import main

if __name__ == "__main__":
    main()
