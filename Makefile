# Switchyard's make targets. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# What tests and the demo run: optimised, but built in a fraction of a release build's time.
QUICK := $(TARGET)/quick/switchyard
# The whole workspace in one go, always: a package that is built by itself has dependencies with other features, and they
# would be built again for it.
WHOLE := --profile quick --workspace
# Programs that go into images are linked statically. The wrapper says so to the compiler for their last crates alone; as
# RUSTFLAGS it would reach procedural macros, which cannot be, and a package by itself would have its dependencies built again.
export RUSTC_WORKSPACE_WRAPPER := $(CURDIR)/images/rustc
# What images are made of: `release`, or `quick`, what tests run.
PROFILE ?= release
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Of an image, packed, in bytes.
IMAGE_LIMIT := 15000000
DENY_VERSION := 0.20.2

.PHONY: help build demo test lint unit test-net test-api test-cluster soak gen gen-check bench bench-operator fuzz image tools clean \
  quick generators net-tools fmt-check clippy doc deny mutants cluster-images cluster-up cluster-down

help: ## what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the release programs
	$(CARGO) build --release -p switchyard -p switchyard-operator -p switchyard-proxy
	@echo "built $(TARGET)/release/switchyard, switchyard-operator and switchyard-proxy"

demo: ## clients that never stop, and what they see while backends, DNS and primaries come and go
	$(CARGO) build --profile quick -p switchyard
	$(QUICK) demo

test: lint unit test-net test-api test-cluster ## all that this machine can run
	@echo "make test: all done"

lint: fmt-check clippy doc gen-check deny ## fmt, clippy, docs, drift, licences

fmt-check:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

# The advisory database is a git repository that a build machine may not reach: licences, bans and sources are checked here.
deny: $(TARGET)/tools/bin/cargo-deny
	$(TARGET)/tools/bin/cargo-deny --log-level error check bans licenses sources

$(TARGET)/tools/bin/cargo-deny:
	$(CARGO) install cargo-deny --debug --locked --version $(DENY_VERSION) --root $(TARGET)/tools --target-dir $(TARGET)/tools/build --quiet

unit: ## tests of each crate by itself
	$(CARGO) test --workspace --lib --bins --test crdgen --test check

test-net: net-tools quick ## network namespaces, real DNS servers, real backends and clients
	SWITCHYARD_BIN=$(abspath $(QUICK)) $(CARGO) test $(WHOLE) --test net

quick:
	$(CARGO) build $(WHOLE) --bin switchyard --bin switchyard-operator --bin switchyard-proxy --bin test-backend \
	  --bin test-client --bin test-pause --bin test-cluster --test net --test api --test cluster

test-api: tools quick ## real API server
	SWITCHYARD_OPERATOR_BIN=$(abspath $(TARGET))/quick/switchyard-operator \
	  SWITCHYARD_PROXY_BIN=$(abspath $(TARGET))/quick/switchyard-proxy \
	  $(CARGO) test $(WHOLE) --test api

test-cluster: tools cluster-images ## real nodes
	SWITCHYARD_IMAGES=$(abspath $(TARGET))/images $(CARGO) test $(WHOLE) --test cluster

# Ours as tests run them, and what stands around them in pods.
cluster-images: quick
	$(MAKE) --no-print-directory image PROFILE=quick
	images/pack.sh $(TARGET)/images/test-backend.tar switchyard.test/backend:1 65532 \
	  $(TARGET)/quick/test-backend $(TARGET)/quick/test-client
	images/pack.sh $(TARGET)/images/test-pause.tar switchyard.test/pause:1 65532 $(TARGET)/quick/test-pause

cluster-up: tools cluster-images ## a cluster of real nodes that stays, with our images loaded; prints the kubeconfig to use
	SWITCHYARD_IMAGES=$(abspath $(TARGET))/images $(TARGET)/quick/test-cluster up

cluster-down: ## ends it
	$(TARGET)/quick/test-cluster down

soak: tools quick ## what takes long, or wants the machine for itself
	SWITCHYARD_SOAK=1 $(CARGO) test $(WHOLE) --lib -- simulation:: deciding_takes_less_than_five_microseconds
	for trials in succession:: steady::; do SWITCHYARD_SOAK=1 \
	  SWITCHYARD_STEADY_SECONDS=300 SWITCHYARD_OPERATOR_BIN=$(abspath $(TARGET))/quick/switchyard-operator \
	  SWITCHYARD_PROXY_BIN=$(abspath $(TARGET))/quick/switchyard-proxy \
	  $(CARGO) test $(WHOLE) --test api -- $$trials --test-threads 1; done
	SWITCHYARD_SOAK=1 SWITCHYARD_BIN=$(abspath $(QUICK)) \
	  $(CARGO) test $(WHOLE) --test net -- redirect:: --test-threads 1

mutants: ## break each pure rule on purpose and see its property fail
	proxy/mutations/run.sh

# With tests beside them, or their dependencies would be built with other features than those of the tests.
generators:
	$(CARGO) build --workspace --bin crdgen --bin chartgen --test crdgen --test check

gen: generators ## write what is generated: the CRDs, and of the chart their copies, versions and the README of its values
	$(TARGET)/debug/crdgen crds
	$(TARGET)/debug/chartgen charts/switchyard

gen-check: generators ## fail when what is generated has drifted
	$(TARGET)/debug/crdgen --check crds
	$(TARGET)/debug/chartgen --check charts/switchyard

bench: build ## side by side with HAProxy, nginx and Envoy; then the operator
	SWITCHYARD_BIN=$(abspath $(TARGET))/release/switchyard bench/run.sh
	$(MAKE) bench-operator

bench-operator: tools ## how fast the operator is, beside a real API server (about ten minutes)
	$(CARGO) build --release -p switchyard-operator
	$(CARGO) build --profile measured -p switchyard-tests --bin bench-operator
	SWITCHYARD_OPERATOR_BIN=$(abspath $(TARGET))/release/switchyard-operator $(TARGET)/measured/bench-operator

fuzz: ## a short run of every fuzz target (FUZZ_SECONDS each, with coverage; see fuzz/README.md)
	CARGO="$(CARGO)" FUZZ_TARGET_DIR=$(abspath $(TARGET))/fuzz fuzz/run.sh

image: $(if $(filter quick,$(PROFILE)),quick,build) ## docker-save tars in target/images (PROFILE=quick: of what tests run)
	for part in operator proxy; do \
	  tar=$(TARGET)/images/switchyard-$$part.tar; \
	  images/pack.sh $$tar switchyard/$$part:$(VERSION) 65532 $(TARGET)/$(PROFILE)/switchyard-$$part; \
	  if [ $$(wc -c <$$tar) -gt $(IMAGE_LIMIT) ]; then echo "image: $$tar has more than $(IMAGE_LIMIT) bytes" >&2; exit 1; fi; \
	done

tools: net-tools ## what tests need and this machine lacks (Debian, as root); control plane, kubectl and helm are built from source
	tests/go-tools.sh

net-tools:
	tests/tools.sh

clean: ## remove what was built
	$(CARGO) clean
