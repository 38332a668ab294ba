# ikada's targets. `make` lists them. Each installs what it needs beyond Go, gcc, git and make.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SOURCES := $(shell find api client cmd internal -name '*.go' ! -name '*_test.go') go.mod go.sum
LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

include internal/runtime/build.mk

.PHONY: help build demo demo-stop test unit e2e bench bench-proxy bench-delivery lint fuzz install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: bin/ikada ## build bin/ikada, the one file to install

bin/ikada: $(SOURCES) $(RUNTIME_BIN)/runc $(RUNTIME_BIN)/ikada-shim
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/ikada

demo: build ## start a node, deploy, swap under load, take a broken release back
	e2e/demo.sh

demo-stop: build ## stop the demonstration's node and remove what it made
	e2e/demo.sh stop

test: unit e2e ## run every test

unit: runtime-bin | packages ## tests of the packages, some with real containers
	go vet ./...
	go test -vet=off -timeout 45m ./api/... ./client/... ./cmd/... ./internal/...

e2e: build | packages ## the real binary with real containers and clients
	go test -count 1 -p 1 -parallel 4 -timeout 90m ./e2e/...

bench: build | packages ## side by side with Docker Swarm: rolling, starting, building, memory
	e2e/bench.sh

bench-proxy: build ## the balancer side by side with nginx, HAProxy and a plain Go reverse proxy
	e2e/benchproxy/run.sh

bench-delivery: build ## how fast bad releases are taken back, and old ones serve again
	IKADA_BENCH_DELIVERY=1 go test -count 1 -v -timeout 30m -run 'TestBadReleases|TestWarmRollback|TestColdRollback' ./e2e

lint: runtime-bin ## static checks
	go run $(LINT) run ./...

fuzz: ## run every fuzz target for a minute
	@for p in $$(go list ./api/... ./client/... ./internal/...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz || true); do \
			echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 60s $$p || exit 1; \
		done; done

install: build ## install to /usr/local/bin, with the systemd unit
	install -m 0755 bin/ikada /usr/local/bin/ikada
	install -D -m 0644 packaging/ikada.service /etc/systemd/system/ikada.service

clean: ## remove what was built
	rm -rf bin $(RUNTIME_BIN)/runc $(RUNTIME_BIN)/ikada-shim

# What tests and benchmarks use of Debian's packages.
.PHONY: packages
packages:
	@missing=""; for p in busybox-static skopeo wrk curl; do \
		dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages for the tests:$$missing"; \
		(apt-get install -y -qq $$missing >/dev/null 2>&1) || (apt-get update -qq && apt-get install -y -qq $$missing) >/dev/null; \
	fi
