# Each target first brings .venv up to date (seconds when it already is); see scripts/setup_environment.py.
# PYTHON=... names the Python that makes .venv; `make clean` first to change it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
IN_ENVIRONMENT := .venv/bin/

# glibc gives large blocks back to the system and page-faults them in anew at each step; PyTorch on CPU is a quarter
# faster when it keeps them.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 17179869184
export MALLOC_TOP_PAD_ := 268435456
# Threads that wait by spinning slow each other down five-fold as soon as anything else wants a core.
export OMP_WAIT_POLICY := passive

.PHONY: help environment demo test app web lint format clean

help:
	@echo "make demo    an animated mp4 and a contact sheet from the bundled examples, into outputs/"
	@echo "make app     the app in the browser"
	@echo "make web     what the live page takes from others, installed by npm, so that pages work without a network"
	@echo "make test    the whole test suite; PYTEST='-k camera' passes arguments on"
	@echo "make lint    ruff check, format check, and whether rooms import only from those below;  make format  applies ruff"
	@echo "make clean   removes .venv and the caches"

environment:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with the venv module was found: install one" \
		"(Debian and Ubuntu: apt-get install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python3.11"; exit 1; } >&2
	@$(PYTHON) scripts/setup_environment.py

demo: environment
	$(IN_ENVIRONMENT)python scripts/demo.py $(ARGS)

app: environment
	$(IN_ENVIRONMENT)python app.py $(ARGS)

web:
	@$(PYTHON) scripts/setup_environment.py --for-page

test: environment
	@$(PYTHON) scripts/setup_environment.py --for-tests
	$(IN_ENVIRONMENT)python -m pytest -n 2 --dist loadfile $(PYTEST)

lint: environment
	$(IN_ENVIRONMENT)ruff check .
	$(IN_ENVIRONMENT)ruff format --check .
	$(IN_ENVIRONMENT)lint-imports --no-logo --no-cache

format: environment
	$(IN_ENVIRONMENT)ruff check --fix .
	$(IN_ENVIRONMENT)ruff format .

clean:
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
