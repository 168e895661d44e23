PYTHON ?= python3
PROFILE ?= book
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
UV = $(BIN)/uv
READY := $(VENV)/.ready
VENDOR := book/vendor/.ready
NODE := PATH="$(abspath $(BIN)):$$PATH"
BUNDLE := $(NODE) node_modules/.bin/esbuild --bundle --minify --log-level=warning --legal-comments=none
HTML = _build/$(PROFILE)/_build/html

# Every kernel would compile every library anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help book evidence test browser lab serve chapter exercises bench lint format constraints clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q uv==0.13.9
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[book,vision,text,hub,llm,cluster,test]'
	touch $@

$(BIN)/uv: | $(READY)

$(VENDOR): package-lock.json scripts/embed.js scripts/embed.css | $(READY)
	$(NODE) npm ci --silent --ignore-scripts
	rm -rf book/vendor && mkdir -p book/vendor/katex/fonts
	$(BUNDLE) scripts/embed.css --outfile=node_modules/bundled.css
	$(BUNDLE) scripts/embed.js --outfile=book/vendor/embed.js --target=es2020 \
	  --loader:.css=text --alias:bundled.css=./node_modules/bundled.css
	cp node_modules/katex/dist/katex.min.css book/vendor/katex
	cp node_modules/katex/dist/fonts/*.woff2 book/vendor/katex/fonts
	touch $@

book: $(READY) $(VENDOR) ## execute every chapter at PROFILE and render the book
	$(BIN)/python scripts/build.py $(PROFILE)

evidence: $(READY) ## compute the scorecard's evidence on twenty seeds; resumes where it was interrupted
	$(BIN)/python -m mcu_lite.book.recorded

test: export OMP_NUM_THREADS = 1
test: lint $(VENDOR) browser ## lint, unit tests, all chapters at the ci profile, their pages in a browser
	$(BIN)/python scripts/build.py ci
	$(BIN)/python -m pytest -n auto --dist loadgroup

browser: ## find Chromium, or install it where that is allowed
	@which $(CHROMIUM) chromium chromium-browser google-chrome 2>/dev/null | grep -q . || \
	{ test "$$(id -u)" = 0 && which apt-get >/dev/null && \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium >/dev/null; } || \
	echo "Chromium is missing, so the pages will not be opened. Install it, or set CHROMIUM to it."

lab: $(READY) ## open the chapters as notebooks
	$(BIN)/jupytext-config set-default-viewer
	$(BIN)/jupyter lab book

serve: book ## build and preview the book at http://localhost:PORT
	$(BIN)/python -m http.server --directory $(HTML) $(PORT)

chapter: $(READY) ## execute one chapter: NAME=unlearning PROFILE=ci PARAMETERS="-p forget 0.2"
	@test -f "book/$(NAME).md" || { echo "NAME must be one of: $(basename $(notdir $(wildcard book/*.md)))"; exit 2; }
	@mkdir -p _build
	$(BIN)/jupytext --quiet --to ipynb --output _build/$(NAME).raw.ipynb book/$(NAME).md
	$(BIN)/papermill _build/$(NAME).raw.ipynb _build/$(NAME).ipynb -k python3 --cwd book -p profile $(PROFILE) $(PARAMETERS)

exercises: $(READY) ## write the notebooks that students open, at PROFILE, into _build/exercises
	$(BIN)/python scripts/exercises.py $(PROFILE)

bench: $(READY) $(VENDOR) ## time the package and the book against plain loops
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/device.py

lint: $(READY) ## check format, style and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: $(UV) ## pin versions of new dependencies; UPGRADE=--upgrade takes the newest of all
	$(UV) pip compile -q $(UPGRADE) --universal --no-emit-index-url --python-version 3.11 --all-extras pyproject.toml -o constraints.txt

clean: ## remove what was built
	rm -rf _build book/vendor node_modules
