# Firesteel: `make demo` runs the main job on a fresh machine, `make test` the whole test suite.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Two profiles (Cargo.toml): a first build that is fast is target/debug/firesteel, the one that ships and is measured is
# target/release/firesteel, unless cargo was told of another target folder.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
FIRST := $(TARGET)/debug/firesteel
FIRESTEEL := $(TARGET)/release/firesteel
# Kafka and MongoDB as `make services` left them: the settings that the binary and the tests read.
SERVICES := set -a; . $(or $(FIRESTEEL_DEV_DIR),.dev)/services.env; set +a
CARGO := cargo
LOCKED := --locked

DOCS ?= 5000000
SEEDS ?= 12
MINUTES ?= 30
CHAOS_OUT ?= .dev/chaos
# Of cargo: `make release FEATURES=cuda`, or `make bench-inference FEATURES=cuda BENCH_INFERENCE="--device cuda"`.
FEATURES ?=
FEATURED := $(FEATURES:%=--features %)
MICRO := decode protobuf filter jpeg kernels

.PHONY: help demo release test chaos soak chaos-binaries bench bench-micro bench-inference bench-ingest torch-check bench-kills bench-locks compare benches image test-kube test-pods spark build services services-down services-status verify fmt clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 18

demo: services build ## The main job: Kafka and MongoDB up, the binary built, 4 x 1,000 images through it
	@$(SERVICES); exec $(FIRST) demo $(DEMO)

build: ## The binary at target/debug/firesteel, quickly built
	@dev/toolchain
	$(CARGO) build $(LOCKED) --package firesteel --bin firesteel $(FEATURED)

release: ## The binary that ships, at target/release/firesteel: twice as long to build, faster to plan
	@dev/toolchain
	$(CARGO) build --release $(LOCKED) --package firesteel --bin firesteel $(FEATURED)

services: ## Kafka and MongoDB: those that the settings name, else by Docker Compose, else fetched and started here
	@dev/services up

services-down: ## Stops what `make services` started
	@dev/services down

services-status: ## What runs where
	@dev/services status

bench: services benches bench-micro bench-inference ## Everything: hot paths, the model, the report beside MongoDB's own aggregation; DOCS=200000 for a quick look
	@$(SERVICES); exec $(TARGET)/release/firesteel-benches report --firesteel $(FIRESTEEL) --docs $(DOCS) $(BENCH)

bench-micro: ## Criterion's micro-benchmarks of the hot paths: two minutes, no services; BENCH_MICRO="decode" for some
	@dev/toolchain
	$(CARGO) bench $(LOCKED) --workspace $(MICRO:%=--bench %) -- $(BENCH_MICRO)

bench-inference: benches ## The model beside candle's own operations, PyTorch and ONNX Runtime, in turn
	@dev/peers fetch inference || true
	@found="$$(dev/peers env inference || true)"; eval "$$found"; exec $(TARGET)/release/firesteel-benches inference $(BENCH_INFERENCE)

bench-ingest: services benches ## What an image costs each process on its way; BENCH_INGEST="--precision bf16" for another model
	@$(SERVICES); exec $(TARGET)/release/firesteel-benches ingest --firesteel $(FIRESTEEL) $(BENCH_INGEST)

torch-check: release ## The binary's answers for torchvision's networks against PyTorch's; TORCH_CHECK="--images 70 --networks resnet18" for a quick look
	@dev/torch-check --firesteel $(FIRESTEEL) $(TORCH_CHECK)

bench-kills: services benches ## The report while executors are killed: 20 seeded runs over 2 million documents
	@$(SERVICES); exec $(TARGET)/release/firesteel-benches kills --firesteel $(FIRESTEEL) $(BENCH)

bench-locks: services benches ## What authentication and TLS cost: two clusters in turn
	@$(SERVICES); exec $(TARGET)/release/firesteel-benches locks --firesteel $(FIRESTEEL) $(BENCH)

image: ## The container image: built with what is there, started, below 200 MB; options by IMAGE="--local"
	@dev/image $(IMAGE)

test-kube: ## Every overlay against a real API server of Kubernetes on loopback
	@dev/test-kube

test-pods: ## The manifests' base as real containers, with podman, as root
	@dev/image --local
	@dev/pods

spark: ## Spark 3.5 and MongoDB's connector for it, fetched once into .dev/spark
	@dev/spark fetch

compare: services benches spark ## The job on Spark and here, with DuckDB, Polars, DataFusion and TPC-H; COMPARE="--docs 4000" for a quick look
	@dev/peers fetch query
	@$(SERVICES); found="$$(dev/spark env && dev/peers env query)"; eval "$$found"; exec $(TARGET)/release/firesteel-benches compare --firesteel $(FIRESTEEL) --tpch 1 $(COMPARE)

benches: # What the benchmarks run
	@dev/toolchain
	$(CARGO) build --release $(LOCKED) --package firesteel --bin firesteel --package firesteel-benches --bin firesteel-benches $(FEATURED)

test: services ## All tests, against real Kafka and MongoDB
	@dev/toolchain
	@$(SERVICES); export FIRESTEEL_TEST_REQUIRE_SERVICES=1; dev/test

chaos: chaos-binaries ## Everything under faults from a seed, SEEDS=12 runs, and an oracle: docs/chaos.md; CHAOS="--images 600 --faults 8" for quick ones
	@exec $(TARGET)/release/firesteel-chaos many --seeds $(SEEDS) --out $(CHAOS_OUT)/runs $(CHAOS)

soak: chaos-binaries ## The highest rate that holds, for MINUTES=30, then ten times that, with a plot; SOAK="--rate 200 --overload 0"
	@exec $(TARGET)/release/firesteel-chaos soak --minutes $(MINUTES) --out $(CHAOS_OUT)/soak-$$(date +%Y%m%d-%H%M%S) $(SOAK)

chaos-binaries: # What both run
	@dev/toolchain
	$(CARGO) build --release $(LOCKED) --package firesteel --bin firesteel --package firesteel-chaos --bin firesteel-chaos

verify: ## Formatting, lints, docs, dependencies, files, edges and floors
	@dev/toolchain
	dev/verify

fmt: ## Formats the code
	$(CARGO) fmt --all

clean: services-down ## Removes builds; what was downloaded stays in .dev
	$(CARGO) clean
