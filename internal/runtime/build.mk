# Builds the two programs that ikada embeds: runc and its shim. Included by the top Makefile.
#
# Both end up in internal/runtime/bin, which is not under version control, and are rebuilt when go.mod or their sources
# change. The modules and versions are those of go.mod: nothing is downloaded from anywhere else.

RUNTIME_BIN := internal/runtime/bin
RUNC_TAGS   := seccomp netgo osusergo urfave_cli_no_docs
SHIM_SRC    := $(shell find cmd/ikada-shim internal/runtime/shimlog internal/runtime/shimexit -name '*.go' ! -name '*_test.go')

.PHONY: runtime-bin
runtime-bin: $(RUNTIME_BIN)/runc $(RUNTIME_BIN)/ikada-shim

# runc filters system calls through libseccomp, the one C library in the product; it is linked statically.
/usr/include/seccomp.h:
	@echo "runc needs the headers of libseccomp: installing the Debian package libseccomp-dev"
	@command -v apt-get >/dev/null || { echo "no apt-get here: install libseccomp's headers and static archive, then run make again" >&2; exit 1; }
	@command -v pkg-config >/dev/null && apt-get install -y -qq libseccomp-dev >/dev/null 2>&1 \
		|| { apt-get update -qq && apt-get install -y -qq libseccomp-dev pkg-config; } >/dev/null \
		|| { echo "could not install libseccomp-dev and pkg-config: run 'apt-get install libseccomp-dev pkg-config' as root" >&2; exit 1; }

$(RUNTIME_BIN)/runc: go.mod | /usr/include/seccomp.h
	CGO_ENABLED=1 go build -trimpath -tags '$(RUNC_TAGS)' -ldflags '-s -w -linkmode external -extldflags -static' \
		-o $@ github.com/opencontainers/runc

$(RUNTIME_BIN)/ikada-shim: go.mod $(SHIM_SRC)
	CGO_ENABLED=0 go build -trimpath -tags no_grpc -ldflags '-s -w' -o $@ ./cmd/ikada-shim
