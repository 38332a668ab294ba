package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/cmd/containerd/server"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/version"
	"golang.org/x/sys/unix"

	_ "github.com/containerd/containerd/v2/core/runtime/v2"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/server/grpc"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/healthcheck"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/build/session"
)

// serveEnv makes the test binary be containerd, with the directory that it names.
const serveEnv = "IKADA_BUILD_TEST_CONTAINERD"

// shared is the containerd of all tests but those that restart theirs; each test has a namespace of its own in it.
var shared struct {
	once sync.Once
	node *node
	err  error
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		log.Fatal(serveContainerd(dir))
	}
	code := m.Run()
	if shared.node != nil {
		shared.node.remove()
	}
	os.Exit(code)
}

func serveContainerd(dir string) error {
	ctx := context.Background()
	grpc := map[string]any{"address": dir + "/c.sock", "uid": 0, "gid": 0}
	ttrpc := map[string]any{"address": dir + "/c.ttrpc", "uid": 0, "gid": 0}
	s, err := server.New(ctx, &srvconfig.Config{
		Version: version.ConfigVersion,
		Root:    dir + "/root",
		State:   dir + "/state",
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":  grpc,
			"io.containerd.server.v1.ttrpc": ttrpc,
			"io.containerd.shim.v1.manager": map[string]any{"socket_dir": dir + "/s"},
		},
	})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	s.Wait()
	select {}
}

// node is a containerd with what it runs steps with.
type node struct {
	dir, shim, runc string
	process         *exec.Cmd
}

func newNode() (*node, error) {
	dir, err := os.MkdirTemp("", "ib")
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir}
	if n.shim, n.runc, err = stepPrograms(dir); err != nil {
		return nil, err
	}
	for _, d := range []string{"root", "state", "s", "runc"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	return n, n.start()
}

// stepPrograms finds the shim and runc: those that the product embeds, else a shim built from its module and the
// machine's runc.
func stepPrograms(dir string) (shim, runc string, err error) {
	embedded, err := filepath.Abs("../runtime/bin")
	if err != nil {
		return "", "", err
	}
	shim = filepath.Join(embedded, "containerd-shim-runc-v2")
	if _, err := os.Stat(shim); err != nil {
		shim = filepath.Join(dir, "containerd-shim-runc-v2")
		cmd := exec.Command("go", "build", "-tags", "no_grpc", "-o", shim, "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("build shim: %w: %s", err, out)
		}
	}
	runc = filepath.Join(embedded, "runc")
	if _, err := os.Stat(runc); err != nil {
		if runc, err = exec.LookPath("runc"); err != nil {
			return "", "", fmt.Errorf("find runc (run `make build`, or apt-get install runc): %w", err)
		}
	}
	return shim, runc, nil
}

func (n *node) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	n.process = exec.Command(self)
	n.process.Env = append(os.Environ(), serveEnv+"="+n.dir)
	n.process.Stdout, n.process.Stderr = &out, &out
	if err := n.process.Start(); err != nil {
		return err
	}
	c, err := containerd.New(n.dir+"/c.sock", containerd.WithTimeout(time.Minute))
	if err != nil {
		return fmt.Errorf("start containerd: %w: %s", err, &out)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if serving, err := c.IsServing(ctx); err != nil || !serving {
		return fmt.Errorf("start containerd: serving %v: %w: %s", serving, err, &out)
	}
	return nil
}

func (n *node) kill() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
}

// remove ends containerd and removes all that lies in its directory, mounts first.
func (n *node) remove() {
	n.kill()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], n.dir+"/") {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
	_ = os.RemoveAll(n.dir)
}

// rig is a Builder on a containerd, with the server that clients reach it by.
type rig struct {
	*Builder
	node   *node
	cfg    Config
	url    string
	client *containerd.Client
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: containers, mounts and cgroups")
	}
	shared.once.Do(func() { shared.node, shared.err = newNode() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return rigOn(t, shared.node, change)
}

func rigOn(t testing.TB, n *node, change func(*Config)) *rig {
	t.Helper()
	sum := sha256.Sum256([]byte(t.Name() + t.TempDir()))
	id := "t" + hex.EncodeToString(sum[:6])
	cfg := Config{
		Root:              t.TempDir(),
		ContainerdAddress: n.dir + "/c.sock",
		Namespace:         id,
		Shim:              n.shim,
		Runc:              n.runc,
		RuncRoot:          n.dir + "/runc",
		CgroupParent:      "/ikada-test-" + id,
	}
	if change != nil {
		change(&cfg)
	}
	r := &rig{node: n, cfg: cfg}
	r.open(t)
	t.Cleanup(func() {
		r.Builder.Close()
		for _, c := range []string{"cpu", "memory", "pids", "cpuacct", "cpuset", "devices", "freezer", "blkio", "systemd", "unified", ""} {
			removeCgroup(filepath.Join(cgroupMount, c, cfg.CgroupParent))
		}
	})
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+client.Prefix+"/builds/session", func(w http.ResponseWriter, req *http.Request) { r.Session(w, req) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	direct, err := containerd.New(cfg.ContainerdAddress, containerd.WithDefaultNamespace(id))
	if err != nil {
		t.Fatal(err)
	}
	r.client = direct
	t.Cleanup(func() { direct.Close() })
	return r
}

func (r *rig) open(t testing.TB) {
	t.Helper()
	b, err := New(t.Context(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Builder = b
}

func removeCgroup(dir string) {
	var dirs []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		_ = unix.Rmdir(dir)
	}
}

func (r *rig) ctx() context.Context {
	return namespaces.WithNamespace(context.Background(), r.cfg.Namespace)
}

func (r *rig) dial(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
	c, err := client.New(r.url, "")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DialSession(ctx, proto, meta)
}

// built is what a build came to.
type built struct {
	image  string
	err    error
	events []api.BuildEvent
}

// logs gives everything that the build printed.
func (b built) logs() string {
	var s strings.Builder
	for _, e := range b.events {
		if e.Log != "" {
			fmt.Fprintf(&s, "%s| %s\n", e.Step, e.Log)
		}
	}
	return s.String()
}

// build builds the service "web" from dir.
func (r *rig) build(t testing.TB, dir string, spec api.BuildSpec) built {
	t.Helper()
	return r.buildAs(t.Context(), t, "web", dir, spec, nil)
}

func (r *rig) buildAs(ctx context.Context, t testing.TB, service, dir string, spec api.BuildSpec, watch func(api.BuildEvent)) built {
	t.Helper()
	o := session.FromSpec(spec, dir)
	o.DockerConfig = t.TempDir()
	s, err := session.Open(t.Context(), r.dial, o) // ctx is the build's alone: a client that is lost is another end
	if err != nil {
		return built{err: err}
	}
	defer s.Close()
	var b built
	b.image, b.err = r.Build(ctx, api.BuildRequest{
		EnvRef: api.EnvRef{App: "shop", Env: "production"}, Service: service, Session: s.ID(), Spec: spec,
	}, func(e api.BuildEvent) {
		b.events = append(b.events, e)
		if watch != nil {
			watch(e)
		}
	})
	return b
}

func (b built) ok(t testing.TB) string {
	t.Helper()
	if b.err != nil {
		t.Fatalf("build: %v\n%s", b.err, b.logs())
	}
	return b.image
}

// write makes files below a new directory.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, dir, name, text)
	}
	return dir
}

func put(t testing.TB, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// busybox puts ikada.local/busybox:1 into the rig's image store.
func (r *rig) busybox(t testing.TB) {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatal("/bin/busybox is missing: apt-get install busybox-static")
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "Dockerfile", "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"--install\",\"-s\",\"/bin\"]\nENV PATH=/bin\n")
	r.buildAs(t.Context(), t, "busybox", dir, api.BuildSpec{Tags: []string{"ikada.local/busybox:1"}}, nil).ok(t)
}

// file reads a file of an image, out of a snapshot of its own.
func (r *rig) file(t testing.TB, image, name string) string {
	t.Helper()
	text, err := r.readFile(t, image, name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (r *rig) readFile(t testing.TB, image, name string) (string, error) {
	t.Helper()
	img, err := r.client.GetImage(r.ctx(), image)
	if err != nil {
		t.Fatalf("image %s: %v", image, err)
	}
	unpacked, err := img.IsUnpacked(r.ctx(), "overlayfs")
	if err != nil || !unpacked {
		t.Fatalf("image %s: unpacked %v, %v", image, unpacked, err)
	}
	ids, err := img.RootFS(r.ctx())
	if err != nil {
		t.Fatal(err)
	}
	snapshots := r.client.SnapshotService("overlayfs")
	key := "view-" + t.Name() + name
	mounts, err := snapshots.View(r.ctx(), key, chainID(ids))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshots.Remove(r.ctx(), key)
	dir := t.TempDir()
	for _, m := range mounts {
		if err := m.Mount(dir); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	b, err := os.ReadFile(filepath.Join(dir, name))
	return string(b), err
}

// plainNetwork gives each step an empty network namespace with the loopback interface down.
type plainNetwork struct {
	dir string

	mu       sync.Mutex
	attached map[string]bool
	served   int
}

func newPlainNetwork(t testing.TB) *plainNetwork {
	dir := t.TempDir()
	put(t, dir, "resolv.conf", "nameserver 192.0.2.53\n")
	put(t, dir, "hosts", "192.0.2.7 neighbour\n")
	return &plainNetwork{dir: dir, attached: map[string]bool{}}
}

func (p *plainNetwork) Attach(_ context.Context, id string) (string, string, string, error) {
	path := filepath.Join(p.dir, id)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return "", "", "", err
	}
	done := make(chan error)
	go func() { // on a thread of its own, which is thrown away with its namespace
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return "", "", "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attached[id] = true
	p.served++
	return path, filepath.Join(p.dir, "resolv.conf"), filepath.Join(p.dir, "hosts"), nil
}

func (p *plainNetwork) Detach(_ context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.attached[id] {
		return nil
	}
	delete(p.attached, id)
	path := filepath.Join(p.dir, id)
	return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path))
}

func (p *plainNetwork) left() (attached, served int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.attached), p.served
}
