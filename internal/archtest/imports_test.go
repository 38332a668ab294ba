package archtest

import (
	"strings"
	"testing"
)

// layer says what of this module a package may import.
type layer struct {
	of  string   // a directory, or with "/..." it and all below
	may []string // directories, in the same way
	why string
}

// layers is from the bottom up. The first row that matches a package counts; one that no row matches fails, so that
// whoever adds a package says where it stands.
var layers = []layer{
	{"api", nil, "the vocabulary is what everything else speaks, so it can know of nothing else"},
	{"client", []string{"api"}, "anyone may use the client without the server's code"},

	{"internal/plan/round", []string{"api", "internal/plan/..."}, "a round is the planners together"},
	{"internal/plan/rehearse", []string{"api", "internal/plan/..."}, "a rehearsal plays what the planners say"},
	{"internal/plan/...", []string{"api", "internal/plan/verdict"}, "a planner turns a value into a value: it can be tested as a table and never blocks"},
	{"internal/schedule", []string{"api"}, "a schedule is reckoned from its text and a time alone"},
	{"internal/store", []string{"api"}, "the store keeps objects and decides nothing"},
	{"internal/store/...", []string{"api", "internal/store/..."}, "a backend knows the store's contract and no user of it"},
	{"internal/leader", []string{"api", "internal/store"}, "an election is a lease in the store"},
	{"internal/wire", []string{"api"}, "the agent's protocol carries the vocabulary"},
	{"internal/process", []string{"api"}, "a process that outlives ikada is the same whatever it runs"},
	{"internal/check", []string{"api"}, "the check of a machine comes before anything else runs"},
	{"internal/house", []string{"api"}, "the keeper knows stores by small interfaces that the wiring fits"},

	{"internal/proxy/inside", []string{"api"}, "the name service takes what it is told, and goes on when nobody is left to tell it"},
	{"internal/proxy", []string{"api", "internal/proxy/..."}, "the balancer takes route tables and never sees the store: it serves on when that is gone"},
	{"internal/proxy/http1", nil, "what a message is depends on its bytes alone: the parser knows of nothing else"},
	{"internal/proxy/balance", nil, "whom to send a request to is reckoned from counts and times alone, so it can be simulated"},
	{"internal/proxy/...", []string{"api", "internal/process", "internal/proxy/..."}, "the balancer's parts are the balancer's"},
	{"internal/agent", []string{"api", "internal/wire"}, "the agent works from its assignments alone, on a node with no store"},
	{"internal/network/...", []string{"api", "internal/agent", "internal/network/...", "internal/proxy/inside"}, "the agent declares the Network that this implements; whom it attaches it announces to the name service"},
	{"internal/runtime/shimexit", nil, "the shim must be small: it is started with every container"},
	{"internal/runtime/shimenv", nil, "the shim must be small: it is started with every container"},
	{"internal/runtime/shimlog", nil, "the shim must be small: it is started with every container"},
	{"internal/runtime/...", []string{"api", "internal/agent", "internal/process", "internal/runtime/..."}, "the agent declares the Runtime that this implements"},

	{"internal/control", []string{"api", "internal/plan/...", "internal/schedule", "internal/store", "internal/leader"}, "controllers read the store, ask a planner, write the store"},
	{"internal/dispatch", []string{"api", "internal/plan/...", "internal/store", "internal/wire"}, "the server's side of agents speaks through the store with the controllers"},
	{"internal/server", []string{"api", "internal/schedule", "internal/store", "internal/auth"}, "handlers write specs and controllers react: features come in by small interfaces"},

	{"internal/hook", []string{"api", "internal/store", "internal/leader"}, "hooks are told where the leader is, of what stands in the store"},
	{"internal/audit", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/auth", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/build/session", []string{"api"}, "the client's side of a build goes into the CLI, which stays thin"},
	{"internal/build", []string{"api", "internal/build/session"}, "a feature imports none other: they meet in the wiring"},
	{"internal/cert", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/compose", []string{"api", "internal/schedule"}, "a feature imports none other: they meet in the wiring"},
	{"internal/function", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/git", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/inquiry", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/metrics", []string{"api"}, "a feature imports none other: they meet in the wiring"},
	{"internal/registry", []string{"api"}, "a feature imports none other: they meet in the wiring"},

	{"internal/cli", []string{"api", "client", "internal/compose", "internal/build/session"}, "a command is a client: it works as well from another machine"},
	{"internal/daemon", []string{"api", "internal/..."}, "the wiring knows every part"},
	{"internal/testcluster", []string{"api", "internal/..."}, "a cluster in one process is wired like the real one"},
	{"internal/disktest", nil, "every part's tests may use it"},
	{"internal/archtest", nil, "the judge of the code is no part of it"},

	{"cmd/ikada", []string{"api", "internal/cli", "internal/daemon", "internal/check", "internal/runtime/containerd", "internal/process", "internal/proxy/..."}, "main only chooses which of the programs in one file to be"},
	{"cmd/ikada-shim", []string{"internal/runtime/shimenv", "internal/runtime/shimexit", "internal/runtime/shimlog"}, "the shim must be small: it is started with every container"},
	{"e2e/benchproxy", []string{"api", "internal/proxy/remote", "e2e/markdown"}, "the benchmark tells the balancer's process its routes as the node does"},
	{"e2e/soak", []string{"api", "internal/proxy/remote"}, "the soak tells the balancer's process its routes as the node does"},
	{"e2e/...", []string{"api", "client", "internal/store/...", "e2e/..."}, "end-to-end tests use the program as its users do; a test of faults reads the stopped node's store"},
}

// confined says who may import a library or package directly. Test files may import what they like.
var confined = []struct {
	what string
	to   []string
	why  string
}{
	{module + "internal/daemon", []string{"cmd/ikada"}, "the wiring is the top: nothing builds on it"},
	{module + "internal/cli", []string{"cmd/ikada"}, "commands are for people: code uses the client"},
	{module + "internal/store/etcd", []string{"internal/daemon", "e2e/..."}, "everyone else knows the store's contract only"},
	{module + "internal/store/storetest", []string{"internal/store/..."}, "test code stays out of the binary"},
	{module + "internal/store/mem", []string{"internal/testcluster"}, "test code stays out of the binary"},
	{module + "internal/network/fake", []string{"internal/testcluster"}, "test code stays out of the binary"},
	{module + "internal/network/networktest", nil, "test code stays out of the binary"},
	{module + "internal/runtime/fake", []string{"internal/testcluster"}, "test code stays out of the binary"},
	{module + "internal/runtime/runtimetest", nil, "test code stays out of the binary"},
	{module + "internal/disktest", nil, "test code stays out of the binary"},
	{module + "internal/testcluster", nil, "test code stays out of the binary"},
	{"testing", []string{"internal/archtest", "internal/testcluster", "internal/disktest", "internal/store/storetest", "internal/network/networktest", "internal/runtime/runtimetest"}, "test code stays out of the binary"},

	{"go.etcd.io/etcd/...", []string{"internal/store/etcd"}, "another store can take its place"},
	{"github.com/containerd/containerd/v2/...", []string{"internal/runtime/...", "internal/registry", "internal/build", "cmd/ikada-shim"}, "the runtime is behind the agent's interface"},
	{"github.com/moby/buildkit/...", []string{"internal/build/...", "internal/compose"}, "builds are behind one package; compose reads Dockerfiles with its parser"},
	{"github.com/compose-spec/...", []string{"internal/compose"}, "the rest speaks specs"},
	{"github.com/spf13/...", []string{"internal/cli"}, "flags and environment are read only in the CLI"},
	{"github.com/charmbracelet/...", []string{"internal/cli"}, "what is drawn on a terminal is the CLI's"},
	{"github.com/danielgtaylor/huma/...", []string{"internal/server"}, "handlers alone know of HTTP's shapes"},
	{"github.com/vishvananda/...", []string{"internal/network/...", "internal/check", "e2e/..."}, "the kernel's network is behind the agent's interface"},
	{"github.com/google/nftables/...", []string{"internal/network/...", "internal/check"}, "the kernel's network is behind the agent's interface"},
	{"github.com/robfig/cron/...", []string{"internal/schedule"}, "when a schedule is due is reckoned in one place"},
	{"github.com/prometheus/prometheus/...", []string{"internal/metrics"}, "queries are run in one place, and nobody else pays for their engine"},
	{"github.com/miekg/dns", []string{"internal/proxy/inside"}, "names are answered in one place"},
	{"math/rand", nil, "math/rand/v2 has taken its place"},
	{"log", []string{"e2e/..."}, "logs go through an injected slog.Logger"},
}

// thin says what a package must not be built of, through others either.
var thin = []struct {
	of  string
	not []string
	why string
}{
	{"api", []string{"net/http", "os/exec", "github.com/...", "golang.org/..."}, "anyone may import the vocabulary: it costs nothing"},
	{"client", []string{module + "internal/...", "github.com/moby/...", "github.com/containerd/...", "google.golang.org/..."}, "anyone may import the client: it costs little"},
	{"internal/cli", []string{
		module + "internal/daemon", module + "internal/server", module + "internal/store/...", module + "internal/runtime/...",
		"go.etcd.io/...", "github.com/containerd/containerd/v2/client", "github.com/containerd/containerd/v2/core/...",
		"github.com/containerd/containerd/v2/plugins/...", "github.com/moby/buildkit/solver/...", "github.com/prometheus/...",
	}, "a command is a client: it works as well from another machine"},
	{"cmd/ikada-shim", []string{module + "api", module + "internal/agent", "github.com/moby/buildkit/...", "k8s.io/..."},
		"the shim is started with every container: each package costs start time and memory"},
}

func TestImports(t *testing.T) {
	s := load(t)
	for _, p := range s.sorted() {
		var row *layer
		for i := range layers {
			if matches(layers[i].of, p.dir) {
				row = &layers[i]
				break
			}
		}
		if row == nil {
			t.Errorf("package %s has no row in the table of layers: say there what it may import, and why", p.dir)
			continue
		}
		for _, imported := range p.imports(false) {
			own, ok := strings.CutPrefix(imported, module)
			if ok && !matchesAny(row.may, own) {
				t.Errorf("%s imports %s\n\tallowed: %v\n\tbecause %s", p.dir, own, row.may, row.why)
			}
		}
	}
}

func TestConfined(t *testing.T) {
	s := load(t)
	for _, p := range s.sorted() {
		for _, imported := range p.imports(false) {
			for _, c := range confined {
				if matches(c.what, imported) && !matchesAny(c.to, p.dir) {
					t.Errorf("%s imports %s\n\tallowed to: %v\n\tbecause %s", p.dir, imported, c.to, c.why)
				}
			}
		}
	}
}

func TestThin(t *testing.T) {
	for _, row := range thin {
		for _, d := range deps(t, row.of) {
			if d != module+row.of && matchesAny(row.not, d) {
				t.Errorf("%s is built of %s (see `go mod why` or `go list -deps`)\n\tbecause %s", row.of, d, row.why)
			}
		}
	}
}
