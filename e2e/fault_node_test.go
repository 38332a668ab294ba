package e2e

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// faultRef is the environment that fault tests deploy to.
var faultRef = api.EnvRef{App: "fault", Env: "production"}

// faultExit is the code with which its tasks end when they are told to.
const faultExit = 42

// faultNode is a node whose processes a test kills, with the image of the fault server.
type faultNode struct {
	*Node
	t     *testing.T
	port  int // published by the service
	image string
	api   *client.Client
}

// newFaultNode starts a node. IKADA_E2E_LOGS=DIR keeps what it and its containerd log there.
func newFaultNode(t *testing.T, args ...string) *faultNode {
	t.Helper()
	n := faultOn(t, NewNode(t, append(args, "--debug")...))
	if dir := os.Getenv("IKADA_E2E_LOGS"); dir != "" {
		t.Cleanup(func() {
			for from, to := range map[string]string{n.Dir + ".log": "ikada.log", filepath.Join(n.Dir, "containerd", "containerd.log"): "containerd.log"} {
				if b, err := os.ReadFile(from); err == nil {
					_ = os.WriteFile(filepath.Join(dir, t.Name()+"-"+to), b, 0o600)
				}
			}
		})
	}
	return n
}

// faultOn makes a node ready for the fault tests.
func faultOn(t *testing.T, node *Node) *faultNode {
	t.Helper()
	n := &faultNode{Node: node, t: t, port: nextPort(), api: node.Client(t)}
	token, err := n.api.CreateToken(t.Context(), api.TokenRequest{Name: "fault"})
	if err != nil {
		t.Fatal(err)
	}
	n.Token, n.image = token.Secret, n.Listen+"/fault:latest"
	if err := n.push("fault:latest", faultImage(t)); err != nil {
		t.Fatalf("push: %v", err)
	}
	return n
}

var faultServer = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "faultserver")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "server")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./faultserver")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build fault server: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// faultImage is an image with nothing but the fault server.
func faultImage(t testing.TB) v1.Image {
	t.Helper()
	server, err := faultServer()
	if err != nil {
		t.Fatal(err)
	}
	l, err := layer(func(w *tar.Writer) { add(w, "server", 0o755, server) })
	if err != nil {
		t.Fatal(err)
	}
	img, err := imageOf(v1.Config{Entrypoint: []string{"/server"}}, l)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// eventually tries until f gives no error. It gives up after a time, but not before a busy machine's patience.
func (n *faultNode) eventually(limit time.Duration, what string, f func() error) {
	n.t.Helper()
	n.within(max(limit, patience), what, f)
}

// within is eventually where the limit is what is tested.
func (n *faultNode) within(limit time.Duration, what string, f func() error) {
	n.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// instance is the name under which a directory's node is found in the kernel.
func instance(dir string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(dir)))
	return hex.EncodeToString(sum[:4])
}

func (n *faultNode) stateDir() string { return "/run/ikada-" + instance(n.Dir) }

// containerd gives the process ID of the node's containerd; 0 when it does not run.
func (n *faultNode) containerd() int {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.stateDir(), "containerd.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(b))[0])
	if err != nil {
		n.t.Fatal(err)
	}
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if !strings.Contains(string(line), n.Dir) {
		return 0
	}
	return pid
}

func (n *faultNode) killContainerd() {
	n.t.Helper()
	if pid := n.containerd(); pid != 0 {
		kill(n.t, pid)
	}
}

// kill ends a process that may have ended already.
func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
}

// url is where the service answers.
func (n *faultNode) url(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", n.port, path)
}

// serves waits until the published port answers, and gives when it did.
func (n *faultNode) serves(limit time.Duration) time.Time {
	n.t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	n.eventually(limit, "the published port answers", func() error { return request(c, n.url("/")) })
	return time.Now()
}

// spec is the app of the fault tests: one web service.
func (n *faultNode) spec(version string, replicas int) api.AppSpec {
	second := api.Duration(time.Second)
	return api.AppSpec{App: faultRef.App, Env: faultRef.Env, Services: map[string]api.ServiceSpec{"web": {
		Image: n.image, Replicas: replicas,
		Env:   map[string]string{"VERSION": version, "EXIT": strconv.Itoa(faultExit)},
		Ports: []api.PortSpec{{HostIP: "127.0.0.1", Published: uint16(n.port), Target: 8080}},
		Health: &api.HealthSpec{HTTP: &api.HTTPGet{Path: "/healthz"}, Interval: second, Timeout: 5 * second, Retries: 3,
			StartPeriod: 30 * second},
		Update: api.Strategy{Monitor: second / 4, Warm: new(api.Duration)},
	}}}
}

// deploy queues a deployment and gives it.
func (n *faultNode) deploy(spec api.AppSpec) *api.Deployment {
	n.t.Helper()
	r, err := n.api.Deploy(n.t.Context(), api.DeployRequest{Spec: spec})
	if err != nil {
		n.t.Fatalf("deploy: %v", err)
	}
	if r.Deployment == nil {
		n.t.Fatalf("deploy gave no deployment: %+v", r)
	}
	return r.Deployment
}

// wait waits for a deployment's end.
func (n *faultNode) wait(number uint64) api.Deployment {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 5*time.Minute)
	defer cancel()
	d, err := n.api.WatchDeployment(ctx, faultRef, number, nil)
	if err != nil {
		n.t.Fatalf("watch deployment %d: %v", number, err)
	}
	return d
}

// roll deploys and expects success.
func (n *faultNode) roll(spec api.AppSpec) api.Deployment {
	n.t.Helper()
	d := n.wait(n.deploy(spec).Number)
	if d.State != api.DeploySucceeded {
		n.t.Fatalf("deployment %d: %s: %s", d.Number, d.State, d.Reason)
	}
	return d
}

// rounds gives how often a fault is tried: the variable IKADA_ROUNDS, else few.
func rounds(t testing.TB, few int) int {
	t.Helper()
	s := os.Getenv("IKADA_ROUNDS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("IKADA_ROUNDS: %q; expected a number of rounds", s)
	}
	return n
}
