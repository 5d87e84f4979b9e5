# leasehold: two commands matter, `make run` and `make test`.
SHELL := /bin/sh
CARGO ?= cargo
PREFIX ?= /usr/local
UNITDIR ?= /etc/systemd/system
export PATH := $(CURDIR)/.cache/kubectl/usr/bin:$(PATH)

.PHONY: help run test test-systemd test-cgroup2 fuzz bench sim failover lint fmt build release install uninstall deps-run deps-test deps-bench

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST)

deps-run:
	@.ci/deps run

deps-test:
	@.ci/deps test
	@.ci/clients

deps-bench:
	@.ci/deps bench

build: deps-run ## Build for development
	$(CARGO) build --locked

release: deps-run
	$(CARGO) build --locked --release

run: release ## Run leasehold on this machine with node-exporter, until Ctrl-C
	@examples/run target/release/leasehold

test: deps-test ## Install the tests' needs and run everything
	$(CARGO) build --locked --all-targets
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast; \
	else \
		$(CARGO) test --locked --no-fail-fast; \
	fi

sim: deps-run ## Run the simulator on thousands of seeds: RUNS=5000
	SIM_RUNS=$(or $(RUNS),5000) $(CARGO) test --locked --release --test sim -- --nocapture

failover: deps-test ## Cut off, stop and kill agents under a StatefulSet, again and again: FAULTS=100
	FAILOVER_FAULTS=$(or $(FAULTS),100) $(CARGO) test --locked --test failover i1_faults -- --nocapture

bench: deps-bench ## Measure: ARGS="-o json" for machines, ARGS="pods writes" for parts
	$(CARGO) build --locked --release --bin leasehold --example bench
	@target/release/examples/bench $(ARGS)

test-systemd: release ## Run the systemd units under a systemd of their own (needs Debian's packages)
	@tests/systemd/run target/release/leasehold

test-cgroup2: build ## Run a node on a kernel with cgroup v2 alone (user-mode Linux, from Debian's packages)
	@tests/cgroup2/run target/debug/leasehold

fuzz: deps-run ## Run each fuzz target for a minute (SECONDS=60)
	@.ci/fuzz $(or $(SECONDS),60)

lint: deps-run ## Formatting and lints, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt:
	$(CARGO) fmt

install: release ## Install the binary and the systemd units
	install -D -m 0755 target/release/leasehold $(DESTDIR)$(PREFIX)/bin/leasehold
	for unit in systemd/*.service; do \
		install -d $(DESTDIR)$(UNITDIR); \
		sed 's#/usr/local/bin/#$(PREFIX)/bin/#' $$unit > $(DESTDIR)$(UNITDIR)/$$(basename $$unit); \
	done
	install -d -m 0755 $(DESTDIR)/etc/leasehold
	-[ -n "$(DESTDIR)" ] || systemctl daemon-reload
	@echo "next: systemctl enable --now leasehold.service  (coordinator and agent on this machine)"

uninstall: ## Stop and remove what `install` put there; data in /var/lib/leasehold stays
	-[ -n "$(DESTDIR)" ] || systemctl disable --now leasehold.service leasehold-agent.service leasehold-coordinator.service
	rm -f $(DESTDIR)$(PREFIX)/bin/leasehold
	for unit in systemd/*.service; do rm -f $(DESTDIR)$(UNITDIR)/$$(basename $$unit); done
	-[ -n "$(DESTDIR)" ] || systemctl daemon-reload
	@echo "Pods that run go on. Before uninstalling, 'leasehold reset' removes them and all data."
