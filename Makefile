# One task runner, few verbs. `make` alone lists them.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export BINLAKE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/binlake
export CARGO_TARGET_DIR ?= $(BINLAKE_CACHE)/target

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## a real MySQL with a small shop, and its changes arriving (SOURCE=mysql://… for yours, KAFKA=1 for Kafka)
	@deploy/demo.sh

test: ## everything, from nothing: set-up, checks, unit, conformance, simulation, integration
	@deploy/test.sh

check: ## format, lints, documentation, licences, spelling, direction of dependencies
	@deploy/check.sh

it: ## integration scenarios on real servers only (ONLY=replay; REPLAY_CHANGES=200000 or HUGE_MIB=2048 for the long ones)
	@deploy/test.sh it

bench: ## figures with their references, three runs each
	@deploy/bench.sh

fuzz: ## each fuzz target for a while (FUZZ_SECONDS=60)
	@deploy/fuzz.sh

fidelity: ## every cell on every server compared with the server's own word (FIDELITY_SERVERS="mysql-9.7 …")
	@deploy/fidelity.sh

clean: ## build output; the cache of downloaded servers stays
	@cargo clean

.PHONY: help demo test check it bench fuzz fidelity clean
