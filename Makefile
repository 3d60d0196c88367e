# Each target says what it is for: make help.
SHELL     := bash -eu -o pipefail
MODULE    := github.com/ratify-provider/ratify
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# A library below would bring in pages for traces that nobody looks at: 6 MB of program, 4 MB of memory.
TAGS      := grpcnotrace
FUZZTIME  ?= 30s
WORLDS    ?= 1000000
COVER     ?= $(CURDIR)/.cover
IMAGE     ?= $(CURDIR)/dist/image
SUM       := go tool -modfile=$(CURDIR)/tools/go.mod gotestsum --format=pkgname-and-test-fails
LINT      := go tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint
MODULES   := . test bench tools/image tools/alerts
# What runs on a real cluster is e2e's, and takes minutes to build.
TESTED     = $$(go list ./... | grep -v /e2e)
MEASURED  := $(MODULE),$(MODULE)/provider,$(MODULE)/store/...,$(MODULE)/verifier/...

.PHONY: help build demo test e2e hostile soak mutants lint fuzz bench gobench chart image

help: ## print this help
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the program into dist/ratify
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags "-s -w -X main.version=$(VERSION)" -o dist/ratify ./cmd/ratify

demo: ## show it at work on this machine: no cluster, no account (KEEP=1 leaves it running)
	@echo "building the demonstration: some minutes at the first time"
	@cd test && go run ./demo

test: ## run all tests but those on a real cluster, with the race detector; print the coverage
	@rm -rf $(COVER) && mkdir -p $(COVER)/main $(COVER)/test
	$(SUM) -- -race -cover -coverpkg=$(MEASURED) ./... -args -test.gocoverdir=$(COVER)/main
	cd test && $(SUM) -- -count=1 -race -cover -coverpkg=$(MEASURED) $(TESTED) -args -test.gocoverdir=$(COVER)/test
	cd test && $(SUM) -- -modfile=gatekeeper317.mod -tags=gatekeeper317 ./library
	cd bench && $(SUM) -- -race ./...
	cd tools/image && $(SUM) -- -race ./...
	cd tools/alerts && $(SUM) -- ./...
	@go tool covdata percent -i=$(COVER)/main,$(COVER)/test -pkg=$(MEASURED) | \
	  awk '{ print; if ($$3 + 0 < 80) low = low " " $$1 } END { if (low) { print "below 80 %:" low; exit 1 } }'

e2e: ## run the transcript on a real API server, etcd and Gatekeeper (builds them at the first time: a quarter of an hour)
	cd test && $(SUM) --format=standard-verbose -- -count=1 -timeout=60m ./e2e/...

hostile: ## hold it against a hostile world, print each promise with its figures: 15 minutes (QUICK=1: two; WRITE=1: into docs/promises.md)
	@cd test && go run ./hostile $(if $(QUICK),-quick) $(if $(WRITE),-write ../docs/promises.md) $(HOSTILE)

soak: ## compare a million verdicts of random hostile worlds with the oracle (WORLDS=1000000)
	@cd test && go run ./hostile -run '^random$$' -worlds $(WORLDS)

mutants: ## put faults into the program, one at a time, and see that a test catches each: ten minutes
	@cd test && go run ./hostile/mutants $(MUTANTS)

lint: ## check format, vet, lint and known vulnerabilities
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "gofmt: $$files"; exit 1; }
	for m in $(MODULES); do (cd $$m && go mod verify && go vet ./... && $(LINT) run --config $(CURDIR)/.golangci.yml ./...); done
	@out=$$(go tool -modfile=tools/go.mod govulncheck ./... 2>&1) && echo "$$out" || { echo "$$out"; \
	  grep -q 'fetching vulnerabilities' <<<"$$out" || exit 1; echo "govulncheck did NOT run: its database cannot be reached from here"; }

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@go list ./... | while read -r pkg; do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; done; done

bench: ## measure it beside the floor and the echo: a quarter of an hour (QUICK=1: two minutes; WRITE=1: into docs/performance.md)
	@cd bench && go run . $(if $(QUICK),-quick) $(if $(WRITE),-write ../docs/performance.md) $(BENCH)

gobench: ## run the Go benchmarks, with allocations
	go test -run '^$$' -bench . -benchmem ./...

chart: ## lint and test the Helm chart
	cd test && $(SUM) -- -count=1 ./chart/...

image: ## write the container image as an OCI layout into dist/image
	cd tools/image && go run . -version $(VERSION) -tags $(TAGS) -revision $$(git rev-parse HEAD) -o $(IMAGE)
