# Everything runs in .venv, made once; `make` needs Python 3.11 or 3.12 and nothing else.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench serve docs page lock clean

help:  ## show this list
	@grep -E '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else f"RhoRay needs Python 3.11 or 3.12, found {v[0]}.{v[1]}; try: make demo PYTHON=python3.11")'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "installing into .venv (2 to 5 minutes, 2.5 GB)"
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -c requirements.lock -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## the whole main job on the packaged sample, about 4 minutes on 2 cores
	@$(PY) -m rhoray.local.demo

# Two processes share two cores: a thread that waits for another is not to spin on one, and Ray's workers, which by
# default let all others go first, are what many tests wait for.
test: $(STAMP)  ## all tests, 15 to 25 minutes on 2 cores
	@OMP_WAIT_POLICY=passive RAY_worker_niceness=0 $(PY) -m pytest -n 2

lint: $(STAMP)  ## ruff, mypy, import contracts, spelling
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/codespell

bench: $(STAMP)  ## every script in benchmarks/, results in benchmarks/results
	@cd benchmarks && for script in bench_*.py; do ../$(PY) $$script || exit 1; done

serve: $(STAMP)  ## the packaged model on http://127.0.0.1:8000 until Ctrl-C
	@PYTHONPATH=$(CURDIR) RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.edge:middlewares \
	  MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=4194304 .venv/bin/serve run serve.app:app

docs: $(STAMP)  ## the documentation into build/site
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

page:  ## build the web page from serve/ui/src into serve/ui/dist (needs node 20)
	@cd serve/ui && npm ci --no-audit --no-fund && npm run --silent check && npm run --silent build

lock: $(STAMP)  ## write what is installed to requirements.lock
	@$(PY) -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:  ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache demo-output
