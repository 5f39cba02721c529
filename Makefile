# Every target honours CARGO_TARGET_DIR. `make help` lists them.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
TOOLS := $(abspath $(TARGET))/tools
# The demo's file; without it an 8 MiB file is made.
FILE ?=
# Seconds for each fuzz target; 0 only replays the committed inputs. How many run at once, and which.
TIME ?= 10
JOBS ?= 1
TARGETS ?=
# Worlds of `make soak`, and the seed of the first. As many run at once as there are cores unless JOBS says.
SEEDS ?= 10000
FROM ?= 0
# Runs of each contender in `make bench`.
RUNS ?= 5
# Where the development broker listens.
LISTEN ?= 127.0.0.1:7770

CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_LLVM_COV_VERSION := 0.9.1
# Sanitisers need a nightly compiler; without one the targets still run with every check on.
FUZZ := PATH="$(TOOLS)/bin:$$PATH" $(CARGO) fuzz
FUZZ_DIR := $(abspath $(TARGET))/fuzz
FUZZ_FLAGS := -s none --target-dir "$(FUZZ_DIR)"

.DEFAULT_GOAL := help
.PHONY: help build run-broker demo test test-long harness harness-long lint purity musts soak fuzz fuzz-build mutants coverage bench \
	install clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

build: ## Build p2pchat and p2pchat-broker (release)
	$(CARGO) build --locked --release -p p2pchat-cli -p p2pchat-broker

run-broker: ## Run a broker on this machine, its data under keys/dev/ (LISTEN=ADDR:PORT)
	$(CARGO) run --locked --release -p p2pchat-broker -- run --listen $(LISTEN) --data keys/dev/broker

demo: ## Two people talk and pass a file, on this machine alone (FILE=song.mp3)
	@$(CARGO) build --locked --release -p p2pchat-cli -p p2pchat-broker -p p2pchat-harness --bins
	@"$(TARGET)/release/p2pchat-harness" demo $(if $(FILE),--file "$(FILE)")

test: ## Run every test, the end-to-end ones with the real binaries
	$(CARGO) build --locked --workspace --bins --profile ci
	$(CARGO) test --locked --workspace --profile ci

test-long: ## Run the end-to-end tests that take minutes
	$(CARGO) build --locked --workspace --bins --profile ci
	$(CARGO) test --locked --profile ci -p p2pchat-harness --tests -- --ignored

harness: ## Attack what was built, row by row; the report is harness.json in the target directory
	$(CARGO) build --locked --workspace --bins --profile ci
	"$(TARGET)/ci/p2pchat-harness" run --report "$(TARGET)/harness.json"

harness-long: ## The attacks that need packages of Debian and PyPI (it fetches them), root or minutes; report in harness-long.json
	$(CARGO) build --locked --workspace --bins --profile ci
	@scripts/long-packages "$(TARGET)/harness-long"
	@test ! -x "$(TARGET)/harness-long/valgrind" || { \
		DEP_VALGRIND="$(abspath $(TARGET))/harness-long/include" \
			$(CARGO) build --locked --profile ctgrind -p p2pchat-ctgrind --features valgrind && \
		ln -sf ../ctgrind/p2pchat-ctgrind "$(TARGET)/harness-long/p2pchat-ctgrind"; }
	P2PCHAT_HARNESS_PACKAGES="$(abspath $(TARGET))/harness-long" \
		"$(TARGET)/ci/p2pchat-harness" run --long --report "$(TARGET)/harness-long.json"

lint: purity musts ## Check format, lints, architecture, the protocol page, licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path bench/Cargo.toml --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets --profile ci -- -D warnings
	@if test -e /usr/include/valgrind/memcheck.h; then \
		$(CARGO) clippy --locked -p p2pchat-ctgrind --features valgrind --profile ci -- -D warnings; \
	else echo "lint: the main function of p2pchat-ctgrind skipped: valgrind's headers are not here"; fi
	@scripts/deny "$(TOOLS)" $(CARGO_DENY_VERSION)

purity: ## Check that the manifests keep to the architecture
	@scripts/purity

musts: ## Check that a test holds each numbered sentence of the protocol page
	@scripts/musts

soak: ## Run many random worlds against a plain model (SEEDS=10000, FROM=first seed, JOBS=at once)
	$(CARGO) build --locked --profile ci -p p2pchat-soak
	"$(TARGET)/ci/p2pchat-soak" --from $(FROM) --seeds $(SEEDS) $(if $(filter-out file,$(origin JOBS)),--jobs $(JOBS))

fuzz: fuzz-build ## Run every fuzz target for a while (TIME=seconds, JOBS=at once, TARGETS=names)
	@scripts/fuzz "$(FUZZ_DIR)" $(TIME) $(JOBS) $(TARGETS)

fuzz-build: fuzz-tool
	$(FUZZ) build $(FUZZ_FLAGS)

.PHONY: fuzz-tool
fuzz-tool:
	@test -x "$(TOOLS)/bin/cargo-fuzz" || \
		$(CARGO) install --locked --root "$(TOOLS)" cargo-fuzz@$(CARGO_FUZZ_VERSION)

# What is changed and which tests run is in .cargo/mutants.toml. The report is mutants.out in the target directory.
mutants: ## Change what decides about strangers, bit by bit, and see that a test fails each time
	@test -x "$(TOOLS)/bin/cargo-mutants" || \
		$(CARGO) install --locked --root "$(TOOLS)" cargo-mutants@$(CARGO_MUTANTS_VERSION)
	PATH="$(TOOLS)/bin:$$PATH" CARGO_TARGET_DIR="$(abspath $(TARGET))/mutants" \
		$(CARGO) mutants --output "$(abspath $(TARGET))"

coverage: ## Print how many lines of each crate the tests reach
	@CARGO_TARGET_DIR="$(abspath $(TARGET))/coverage" scripts/coverage "$(TOOLS)" $(CARGO_LLVM_COV_VERSION)

# Beside the programs that it measures, which it finds there. Its lock keeps versions; what the product
# came to need since is added to it.
bench: build ## Measure p2pchat and its references, and write docs/performance.md (RUNS=5)
	$(CARGO) build --release --manifest-path bench/Cargo.toml --target-dir $(abspath $(TARGET))
	"$(abspath $(TARGET))/release/p2pchat-bench" --runs $(RUNS) --page docs/performance.md

install: ## Install p2pchat and p2pchat-broker into cargo's bin directory
	$(CARGO) install --locked --path crates/cli
	$(CARGO) install --locked --path crates/broker

clean: ## Remove everything that was built
	$(CARGO) clean
