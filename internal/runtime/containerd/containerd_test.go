package containerd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

// TestMain makes the test's own program a containerd too, as ikada's is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "containerd" {
		if err := Main(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// instance is a whole instance of its own: directories, containerd, runtime.
type instance struct {
	cfg     Config
	daemon  *Daemon
	runtime *Runtime
	image   string // pinned busybox
}

func newInstance(t testing.TB, change func(*v1.Config)) *instance {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{DataDir: t.TempDir(), Command: []string{self, "containerd", "--config"}}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(cfg.logPath())
			t.Logf("containerd's log:\n%s", b)
		}
		if err := Reset(context.Background(), cfg); err != nil {
			t.Errorf("reset: %v", err)
		}
	})
	d, err := NewDaemon(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	in := &instance{cfg: cfg, daemon: d, runtime: r}
	in.image = in.load(t, "ikada.local/test/busybox:1", runtimetest.Busybox(t, change))
	return in
}

// load imports an image under a tag and gives its pinned reference.
func (in *instance) load(t testing.TB, tag string, img v1.Image) string {
	t.Helper()
	f, err := os.Open(runtimetest.Archive(t, tag, img))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := in.runtime.Client().Import(t.Context(), f, client.WithImageRefTranslator(func(string) string { return tag })); err != nil {
		t.Fatalf("import: %v", err)
	}
	ref, err := in.runtime.Images().Resolve(t.Context(), tag, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.runtime.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	return ref
}

func (in *instance) subject() runtimetest.Subject {
	sh := func(script string) []string { return []string{"sh", "-c", script} }
	return runtimetest.Subject{
		Runtime: in.runtime,
		Image:   in.image,
		Exit:    func(code int) []string { return sh("exit " + strconv.Itoa(code)) },
		Sleep:   func() []string { return sh("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done") },
		Print: func(stdout, stderr string, then []string) []string {
			script := "echo '" + stdout + "'; "
			if stderr != "" {
				script += "echo '" + stderr + "' >&2; "
			}
			return append([]string{"sh", "-c", script + `exec "$@"`, "sh"}, then...)
		},
	}
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject { return newInstance(t, nil).subject() })
}

// blobs counts what the content store holds.
func (in *instance) blobs(t testing.TB) (n int, err error) {
	err = in.runtime.Client().ContentStore().Walk(t.Context(), func(content.Info) error {
		n++
		return nil
	})
	return n, err
}
