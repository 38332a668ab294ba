// Package e2e runs the real program with real containers and real clients. harness_test.go and load_test.go hold what
// its tests are made of: a Node is a running ikada with a data directory and ports of its own, an App one app on it,
// a Load a client that checks every answer. Most tests share one node and tell themselves apart by their app's name.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// The exit codes that the command line promises.
const (
	exitDone       = 0
	exitError      = 1
	exitUsage      = 2
	exitRolledBack = 3
	exitCancelled  = 4
	exitTimeout    = 5
)

const (
	binary    = "../bin/ikada"
	startWait = 2 * time.Minute
)

// patience is how long something that must happen is waited for, on however busy a machine.
const patience = 2 * time.Minute

// program is the absolute path of the program under test; TestMain sets it.
var program string

// shared is the node that most tests use.
var shared = &Node{}

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "e2e: skipped: containers need root")
		return 0
	}
	syscall.Umask(0o022) // files that tests make are read by users in containers
	var err error
	if program, err = filepath.Abs(binary); err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v: run `make build` first\n", err)
		return 1
	}
	work, err := os.MkdirTemp("", "ike")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := buildTestapp(filepath.Join(work, "testapp")); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	shared.name, shared.Dir = "shared", filepath.Join(work, "n")
	if err := shared.start(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: start node: %v\n%s", err, shared.Log())
		return 1
	}
	defer shared.cleanUp()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		shared.cleanUp()
		_ = os.RemoveAll(work)
		os.Exit(1)
	}()
	if err := shared.pushImages(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: push images: %v\n%s", err, shared.Log())
		return 1
	}
	return m.Run()
}

// ports is where the search for the next free port starts, and what says that those given are taken.
var ports struct {
	sync.Mutex
	next, first, last int
	taken             []net.Listener
}

// nextPort gives a port that nobody listens on and that no run on this machine gave to anybody else: between the look
// and the node that listens there, another run would take it too. IKADA_E2E_PORTS=FIRST-LAST bounds the search.
func nextPort() int {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.first, ports.last = 21000, 21999
		if from, to, ok := strings.Cut(os.Getenv("IKADA_E2E_PORTS"), "-"); ok {
			ports.first, _ = strconv.Atoi(from)
			ports.last, _ = strconv.Atoi(to)
		}
		ports.next = ports.first + os.Getpid()%max(1, (ports.last-ports.first)/2)
	}
	for range ports.last - ports.first {
		p := ports.next
		if ports.next++; ports.next > ports.last {
			ports.next = ports.first
		}
		mark, err := net.Listen("unix", fmt.Sprintf("@ikada-e2e-port-%d", p)) // a name that ends with this process
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", p)); err == nil {
			_ = l.Close()
			ports.taken = append(ports.taken, mark)
			return p
		}
		_ = mark.Close()
	}
	panic("e2e: no free port")
}

// Node is one ikada: a data directory, ports, and a process while it runs. Use NewNode, or the shared one.
type Node struct {
	Dir    string
	Listen string // API and registry
	HTTP   string // balancer for routes
	Token  string // lets in over TCP

	name   string
	binary string   // of this node alone; "" is the program under test
	args   []string // of up, besides directory and addresses
	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // how the process ended, once exited is closed
}

// NewNode starts a node for one test; it is reset at the test's end, and its log printed if the test failed.
func NewNode(t *testing.T, args ...string) *Node {
	t.Helper()
	return newNode(t, "", args...)
}

// newNode is NewNode with a program of the node's own.
func newNode(t *testing.T, binary string, args ...string) *Node {
	t.Helper()
	dir, err := os.MkdirTemp("", "ike") // short: the path of a unix socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Dir: filepath.Join(dir, "n"), name: t.Name(), binary: binary, args: args}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the node:\n%s", n.Log())
		}
		n.cleanUp()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("reset left something behind: %v", err)
		}
	})
	if err := n.start(); err != nil {
		t.Fatalf("start node: %v\n%s", err, n.Log())
	}
	return n
}

// Start starts a node that was stopped or killed, with the same directory and ports.
func (n *Node) Start(t *testing.T) {
	t.Helper()
	if err := n.start(); err != nil {
		t.Fatalf("start node: %v\n%s", err, n.Log())
	}
}

func (n *Node) start() error {
	if n.Listen == "" {
		n.Listen = fmt.Sprintf("127.0.0.1:%d", nextPort())
		n.HTTP = fmt.Sprintf("127.0.0.1:%d", nextPort())
	}
	if err := os.MkdirAll(filepath.Dir(n.Dir), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(n.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	args := append([]string{"up", "--data-dir", n.Dir, "--listen", n.Listen, "--http", n.HTTP}, n.args...)
	cmd := exec.Command(n.program(), args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = cleanEnviron()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C on the tests is not one on the node
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	n.mu.Lock()
	n.cmd, n.exited = cmd, exited
	n.mu.Unlock()
	go func() {
		n.err = cmd.Wait()
		close(exited)
	}()
	return n.untilUp(exited)
}

func (n *Node) untilUp(exited chan struct{}) error {
	c, err := client.New("unix://"+n.Socket(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	for {
		if h, err := c.Health(ctx); err == nil && h.OK {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("ikada up ended: %w", n.err)
		case <-ctx.Done():
			return fmt.Errorf("not up within %s", startWait)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// program is the path of what the node runs.
func (n *Node) program() string {
	if n.binary != "" {
		return n.binary
	}
	return program
}

// Socket is the path of the node's unix socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "ikada.sock") }

// PID is the process of ikada up.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Stop ends ikada as Ctrl-C does: its tasks go on.
func (n *Node) Stop(t *testing.T) {
	t.Helper()
	n.end(t, syscall.SIGINT)
	if n.err != nil {
		t.Errorf("ikada up ended with %v after SIGINT", n.err)
	}
}

// Kill ends ikada with SIGKILL.
func (n *Node) Kill(t *testing.T) {
	t.Helper()
	n.end(t, syscall.SIGKILL)
}

func (n *Node) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal ikada: %v", err)
	}
	select {
	case <-n.exited:
	case <-time.After(patience):
		t.Fatalf("ikada goes on %s after %s", patience, s)
	}
}

// Log gives the end of what ikada up printed.
func (n *Node) Log() string {
	b, err := os.ReadFile(n.Dir + ".log")
	if err != nil {
		return err.Error()
	}
	if len(b) > 16<<10 {
		b = b[len(b)-16<<10:]
	}
	return string(b)
}

// cleanUp resets the node whatever state it is in.
func (n *Node) cleanUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "reset", "-y", "--data-dir", n.Dir)
	cmd.Env = cleanEnviron()
	if out, err := cmd.CombinedOutput(); err != nil {
		log.Printf("reset of node %s: %v\n%s", n.name, err, out)
	}
	_ = n.cmd.Process.Kill() // no effect when it has ended
	<-n.exited
	n.cmd = nil
	_ = os.Remove(n.Dir + ".log")
}

// cleanEnviron is the environment of the tests without what steers ikada.
func cleanEnviron() []string {
	env := []string{"NO_COLOR=1"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "IKADA_") && !strings.HasPrefix(kv, "COMPOSE_") {
			env = append(env, kv)
		}
	}
	return env
}

// Client gives a client of the node's socket.
func (n *Node) Client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New("unix://"+n.Socket(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Result is how a command ended.
type Result struct {
	Args   []string
	Stdout string
	Stderr string
	Code   int
	Took   time.Duration
}

func (r Result) String() string {
	return fmt.Sprintf("ikada %s\nexit code %d after %s\nstdout: %s\nstderr: %s", strings.Join(r.Args, " "), r.Code, r.Took.Round(time.Millisecond), r.Stdout, r.Stderr)
}

// Want fails the test unless the command ended with the code and printed every one of the texts.
func (r Result) Want(t *testing.T, code int, texts ...string) Result {
	t.Helper()
	if r.Code != code {
		t.Fatalf("exit code %d, expected %d\n%s", r.Code, code, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.Stdout+r.Stderr, text) {
			t.Fatalf("did not print %q\n%s", text, r)
		}
	}
	return r
}

// JSON reads what the command printed.
func (r Result) JSON(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Stdout), v); err != nil {
		t.Fatalf("output is not the JSON expected: %v\n%s", err, r)
	}
}

// Command makes a run of the program against the node, from a directory.
func (n *Node) Command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(cleanEnviron(), "IKADA_HOST=unix://"+n.Socket(), "REGISTRY="+n.Listen)
	return cmd
}

// In runs one command from a directory, for at most ten minutes.
func (n *Node) In(t *testing.T, dir string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // in a cleanup the test's context is over
	defer cancel()
	return finish(t, n.Command(ctx, dir, args...))
}

// Run runs one command from an empty directory.
func (n *Node) Run(t *testing.T, args ...string) Result {
	t.Helper()
	return n.In(t, t.TempDir(), args...)
}

func finish(t *testing.T, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	r := Result{Args: cmd.Args[1:], Stdout: stdout.String(), Stderr: stderr.String(), Took: time.Since(began)}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if r.Code = exit.ExitCode(); r.Code < 0 {
			t.Fatalf("ended by %v\n%s", exit, r)
		}
	} else if err != nil {
		t.Fatalf("run %v: %v", cmd.Args, err)
	}
	return r
}

// App is an app of one test: a directory with a Compose file, a name and a published port of its own.
type App struct {
	*Node
	t    *testing.T
	Name string
	Path string
	Port int

	Monitor string // how long each swap of web is watched
}

var appNumber atomic.Int64

// App makes an app's directory; the app is destroyed, volumes and all, at the test's end. When the test failed, what
// the node knows of the app is printed first.
func (n *Node) App(t *testing.T) *App {
	t.Helper()
	a := &App{Node: n, t: t, Name: fmt.Sprintf("app%d", appNumber.Add(1)), Path: t.TempDir(), Port: nextPort(), Monitor: "1s"}
	t.Cleanup(a.cleanUp)
	return a
}

func (a *App) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	run := func(args ...string) string {
		out, _ := a.Command(ctx, "/", append(args, "--app", a.Name)...).CombinedOutput()
		return string(out)
	}
	if a.t.Failed() {
		a.t.Logf("%s\n%s\n%s\n%s\n%s", a.Name, run("status"), run("ps", "--all"), run("deployments"), run("events"))
		a.t.Logf("last lines of its log:\n%s", run("logs", "--tail", "20"))
	}
	list, err := a.Client(a.t).Environments(ctx)
	if err != nil {
		return // the test has stopped its node
	}
	for _, e := range list {
		if e.App == a.Name {
			out, err := a.Command(ctx, "/", "destroy", "-y", "--volumes", "--app", a.Name, "--env", e.Env).CombinedOutput()
			if err != nil {
				a.t.Errorf("destroy %s: %v\n%s", e.EnvRef, err, out)
			}
		}
	}
}

// Ref is the app's environment production.
func (a *App) Ref() api.EnvRef { return api.EnvRef{App: a.Name, Env: api.DefaultEnv} }

// File writes a file of the app's directory. In it {port} stands for the published port, {registry} for the node's
// registry and {name} for the app's name.
func (a *App) File(name, content string) {
	a.t.Helper()
	path := filepath.Join(a.Path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	content = strings.NewReplacer("{port}", strconv.Itoa(a.Port), "{registry}", a.Listen, "{name}", a.Name).Replace(content)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// Compose writes the Compose file; the app's name is put before it.
func (a *App) Compose(content string) {
	a.t.Helper()
	a.File("compose.yaml", "name: {name}\n"+content)
}

// Run runs a command from the app's directory.
func (a *App) Run(args ...string) Result {
	a.t.Helper()
	return a.In(a.t, a.Path, args...)
}

// Deploy deploys and fails the test unless that succeeds.
func (a *App) Deploy(args ...string) Result {
	a.t.Helper()
	return a.Run(append([]string{"deploy"}, args...)...).Want(a.t, exitDone)
}

// Status asks for the app's environment production.
func (a *App) Status() api.EnvironmentStatus {
	a.t.Helper()
	var s api.EnvironmentStatus
	a.Run("status", "--json").Want(a.t, exitDone).JSON(a.t, &s)
	return s
}

// tasks asks for the app's tasks, also those that have ended if all is set.
func (a *App) tasks(all bool) []api.TaskView {
	a.t.Helper()
	tasks, err := a.Client(a.t).Tasks(a.t.Context(), a.Ref(), all)
	if err != nil {
		a.t.Fatal(err)
	}
	return tasks
}

// Tasks asks for the live tasks of a service, "" for all.
func (a *App) Tasks(service string) []api.TaskView {
	a.t.Helper()
	var out []api.TaskView
	for _, task := range a.tasks(false) {
		if !task.State().Final() && (service == "" || task.Service == service) {
			out = append(out, task)
		}
	}
	return out
}

// URL is an address at the published port.
func (a *App) URL(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", a.Port, path) }

// Get asks the app at its published port and fails the test unless the answer is 200.
func (a *App) Get(path string) string {
	a.t.Helper()
	code, body := get(a.t, a.URL(path))
	if code != http.StatusOK {
		a.t.Fatalf("GET %s: %d %s", path, code, body)
	}
	return body
}

// Shell runs a command line in the first task of a service and gives its standard output without the last newline.
func (a *App) Shell(service, command string) string {
	a.t.Helper()
	r := a.Run("exec", service, "--", "sh", "-c", command).Want(a.t, exitDone)
	return strings.TrimSuffix(r.Stdout, "\n")
}

// Until polls until a condition holds; the condition says what it still waits for, "" when it holds. It gives up after
// a time, but not before the patience that a busy machine takes: what must be fast is to be measured.
func Until(t *testing.T, most time.Duration, condition func() string) {
	t.Helper()
	most = max(most, patience)
	deadline := time.Now().Add(most)
	for {
		missing := condition()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", most, missing)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%v: %s", t.Context().Err(), missing)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
