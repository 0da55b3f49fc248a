# Everything a person types. `make` alone says what there is. The demo needs a Rust toolchain and a C compiler, nothing
# else; what is distributed, and the tests, also need Postgres and Redis, and get them (deploy/servers.sh).

.DEFAULT_GOAL := help
# The steps share one target directory, whose lock would make them wait for each other anyway.
.NOTPARALLEL:

MODE ?= ## demo: distributed plays it on Postgres, Redis and replicas of every service; embedded, in one process
EXIT ?= ## demo: 1 ends the demo by itself, with the exit code of what it found
BUYERS ?= ## demo: how many buyers come
STOCK ?= ## demo: how many units of the hot item there are
CONCURRENCY ?= ## demo: how many buyers ask at once
REPLICAS ?= ## up: how many processes of each service; 2 when left away
ARGS ?= ## dev, test: further arguments, such as ARGS="--json" or ARGS="--no-fail-fast"

TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
SPILLWAY := $(TARGET_DIR)/debug/spillway
DEMO_ARGS := $(strip $(if $(filter 1,$(EXIT)),--exit) $(if $(BUYERS),--buyers $(BUYERS)) \
	$(if $(STOCK),--stock $(STOCK)) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY)))
DISTRIBUTED := $(filter distributed,$(MODE))
ifneq ($(filter-out distributed embedded,$(MODE)),)
$(error MODE=$(MODE): must be distributed or embedded)
endif

.PHONY: help
help: ## List the targets and their settings
	@awk -f deploy/lint/help.awk Makefile

# === Run ===

# Tests switch on more features of tokio than the command needs. `--examples` matches nothing here, but makes cargo
# choose features as it does for the tests, so that demo and tests share every compiled dependency.
.PHONY: build
build: ## Compile the `spillway` command
	cargo build --locked --workspace --bin spillway --examples

.PHONY: build-all
build-all: ## Compile the command, and each service as a binary of its own
	cargo build --locked --workspace --bins --examples

# Beside the data of `make dev`, and not under /tmp: a RAM disk would flatter the commits.
.PHONY: demo
demo: $(if $(DISTRIBUTED),build-all,build) ## Sell 1,000 units to 20,000 buyers, check the books, stay up until Ctrl-C
	@exec $(if $(DISTRIBUTED),sh deploy/local/demo.sh "$(TARGET_DIR)/debug",$(SPILLWAY) demo --data-dir data/demo) $(DEMO_ARGS)

.PHONY: dev
dev: build ## Start the five services in one process, with the data of the last time
	@exec "$(SPILLWAY)" dev $(ARGS)

.PHONY: up
up: build-all ## Start the platform distributed on this machine: Postgres, Redis, two replicas of every service
	@$(if $(REPLICAS),REPLICAS=$(REPLICAS)) sh deploy/local/up.sh "$(TARGET_DIR)/debug"

.PHONY: down
down: ## End exactly what `make up` started; its data stays for the next time
	@sh deploy/local/down.sh

# Servers that were there before the tests stay: see `sh deploy/servers.sh`.
.PHONY: test
test: build-all ## Run every test, on throwaway Postgres and Redis; some start real binaries
	@sh deploy/servers.sh run -- cargo test --locked --workspace $(ARGS)

# === Check ===

.PHONY: lint
lint: lint-rooms lint-fmt lint-proto lint-rust lint-doc ## Run all lint-* targets, the quick ones first

.PHONY: lint-rooms
lint-rooms: ## Check rooms, file sizes and manners of the code, after proving that each check can fail
	@sh deploy/lint/selftest.sh
	@sh deploy/lint/check.sh .

.PHONY: lint-fmt
lint-fmt: ## Check the formatting of the Rust code
	@sh deploy/lint/tools.sh rust
	cargo fmt --all --check

.PHONY: lint-proto
lint-proto: ## Check style and formatting of the protos
	@sh deploy/lint/proto.sh

.PHONY: lint-rust
lint-rust: ## Run clippy, warnings denied
	@sh deploy/lint/tools.sh rust
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: lint-doc
lint-doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# === Tend ===

.PHONY: fmt
fmt: ## Format the Rust code and the protos
	@sh deploy/lint/tools.sh rust
	cargo fmt --all
	@sh deploy/lint/proto.sh --fix

.PHONY: doc
doc: ## Build the documentation of the crates
	cargo doc --locked --workspace --no-deps
	@echo "open $(TARGET_DIR)/doc/spillway/index.html"

.PHONY: tools
tools: ## Install what lint needs beyond the toolchain: rustfmt, clippy, buf (into .tools)
	@sh deploy/lint/tools.sh rust buf

.PHONY: clean
clean: ## Remove what was compiled, installed and left by demos
	@sh deploy/local/down.sh --wipe
	@sh deploy/servers.sh down
	cargo clean
	rm -rf .tools data/demo data/up
