.DEFAULT_GOAL := help
.PHONY: help test conformance lint race generated ci parity-full bench kernels emulate test-gpu-build test-gpu sanitize benchmarks deploy fuzz goldens clean

staticcheck = honnef.co/go/tools/cmd/staticcheck@v0.8.2
fuzztime   ?= 10s
gpu        ?= kernels/cpu kernels/cuda kernels/cuda/driver models/vae models/sdxl cmd/server

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

test: ## every test but the real shapes; no download, no GPU, no Python
	go test ./...
	@.ci/untested

conformance: ## the real shapes of the table of operations on this CPU: minutes
	go test -count=1 -timeout 60m -tags conformance -run ConformanceReal ./kernels/cpu

lint: ## gofmt, go vet, staticcheck, go mod tidy
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go vet ./...
	go run $(staticcheck) ./...
	go mod tidy -diff

race: ## concurrent packages under the race detector
	.ci/race

generated: ## generated files are what their generators give
	.ci/generated

ci: ## all that must hold before a change is taken
	.ci/run

parity-full: ## the full-size models against diffusers: a minute or two, 10 GB of memory
	go test -count=1 -timeout 60m -tags parity -v ./models/...

bench: ## the kernels' benchmarks
	go test -run '^$$' -bench . ./kernels/cpu

kernels: ## compile the CUDA kernels to the committed PTX modules; needs clang-19, no CUDA
	kernels/cuda/build.sh

emulate: ## the CUDA kernels and engine on this x86-64 CPU; needs clang-19, no card
	kernels/cuda/emulate/build.sh build/emulate
	GOXL_EMULATE=$(CURDIR)/build/emulate go test -count=1 -tags emulate -run Emulated ./kernels/cuda

test-gpu-build: ## the programs of test-gpu, in build/gpu: make test-gpu-build gpu="kernels/cpu kernels/cuda"
	rm -rf build/gpu
	for p in $(gpu); do CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -tags conformance -o build/gpu/$$(echo $$p | tr / +).test ./$$p || exit; done

test-gpu: ## the CUDA engine on a card, all CPU kernels on its host; without Go, by what is in build/gpu
	if command -v go; then $(MAKE) test-gpu-build; fi
	kernels/cuda/test.sh build/gpu

sanitize: ## the CUDA kernels on a card under compute-sanitizer; needs the CUDA toolkit
	go test -c -o build/cuda.test ./kernels/cuda
	kernels/cuda/sanitize.sh build/cuda.test build/sanitize

benchmarks: ## goxl beside PyTorch and diffusers on a card, as tables and build/benchmarks.json
	go build -o build/goxl ./cmd/goxl
	python3 tools/benchmarks/run.py --goxl build/goxl --json build/benchmarks.json

deploy: ## check the files of folder deploy by what reads them; needs the Go module proxy
	deploy/check.sh

fuzz: ## each fuzz target for a moment: make fuzz fuzztime=1m
	go test -run '^$$' -fuzz '^FuzzParseFields$$' -fuzztime $(fuzztime) ./server
	go test -run '^$$' -fuzz '^FuzzParseConfig$$' -fuzztime $(fuzztime) ./nn/weights
	go test -run '^$$' -fuzz '^FuzzOpen$$' -fuzztime $(fuzztime) ./nn/weights
	go test -run '^$$' -fuzz '^FuzzMatch$$' -fuzztime $(fuzztime) ./nn/weights/lora
	go test -run '^$$' -fuzz '^FuzzParseKey$$' -fuzztime $(fuzztime) ./nn/weights/lora
	go test -run '^$$' -fuzz '^FuzzParseStrengths$$' -fuzztime $(fuzztime) ./nn/weights/lora
	go test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(fuzztime) ./scheduler
	go test -run '^$$' -fuzz '^FuzzEncode$$' -fuzztime $(fuzztime) ./tokenizer
	go test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime $(fuzztime) ./internal/imagefile

goldens: ## how to write the reference outputs again (prints, runs nothing)
	@sed -n '/^    python/p; /^| `.*\.py/p' tools/reference/README.md

clean: ## what builds and tests leave behind
	rm -rf build
	find . -path ./.git -prune -o \( -name '*.test' -o -name '*.prof' \) -exec rm -f {} +
