package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netns"
)

// Debian's own client, whatever else is installed.
const dockerClient = "/usr/bin/docker"

// docker is a Docker daemon of its own: data, sockets and cgroups of this run, and network, mount and process
// namespaces that take bridges, firewall rules, mounts and containers with them when they end.
type docker struct {
	dir     string
	process *exec.Cmd // unshare, the outermost
	exited  chan error
	http    *http.Client
	direct  *http.Client // to containers
	network netns.NsHandle
	images  [2]string // IDs of the app's two versions
	version int       // of them, the one that runs
	swarm   bool      // it has been made one
	service string    // ID of the service that is rolled, "" when there is none
	beside  container // takes the load
}

func newDocker(dir string) *docker {
	d := &docker{dir: dir, network: netns.None()}
	d.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
	}}}
	d.direct = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: d.dial, DisableKeepAlives: true}}
	return d
}

func (d *docker) socket() string { return filepath.Join(d.dir, "docker.sock") }

func (d *docker) cgroup() string { return filepath.Base(filepath.Dir(d.dir)) }

// up starts the daemon and tells when its API answered.
func (d *docker) up(ctx context.Context) (time.Duration, error) {
	if err := os.MkdirAll(d.dir, 0o711); err != nil {
		return 0, err
	}
	log, err := os.Create(filepath.Join(filepath.Dir(d.dir), "docker.log"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	config := filepath.Join(d.dir, "daemon.json") // not the machine's
	if err := os.WriteFile(config, []byte("{}\n"), 0o644); err != nil {
		return 0, err
	}
	// tini is the process namespace's init: shims become its children, and it passes signals on to the daemon.
	d.process = exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
		"sh", "-c", `ip link set lo up && exec tini -- dockerd "$@"`, "dockerd",
		"--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"), "--host", "unix://"+d.socket(),
		"--pidfile", filepath.Join(d.dir, "pid"), "--cgroup-parent", "/"+d.cgroup(), "--config-file", config)
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = ownGroup()
	began := time.Now()
	if err := d.process.Start(); err != nil {
		return 0, err
	}
	d.exited = make(chan error, 1)
	go func(p *exec.Cmd) { d.exited <- p.Wait() }(d.process)
	err = until(ctx, 5*time.Millisecond, "Docker's API", func() (bool, error) {
		select {
		case err := <-d.exited:
			d.exited <- err
			text, _ := os.ReadFile(log.Name())
			return false, fmt.Errorf("dockerd ended: %w\n%s", err, text[max(0, len(text)-2000):])
		default:
		}
		return d.call(ctx, http.MethodGet, "/_ping", nil, nil) == nil, nil
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	d.network, err = netns.GetFromPath(fmt.Sprintf("/proc/%d/ns/net", d.process.Process.Pid))
	return took, err
}

// stop ends the daemon with everything in its namespaces and removes its files and cgroups.
func (d *docker) stop() error {
	if d.process == nil {
		return nil
	}
	d.http.CloseIdleConnections()
	err := d.terminate()
	select {
	case <-d.exited:
	case <-time.After(stopTime):
		err = errors.Join(err, errors.New("dockerd did not stop"), d.process.Process.Kill()) // its child dies with it
		<-d.exited
	}
	d.process = nil
	if d.network.IsOpen() {
		err = errors.Join(err, d.network.Close())
	}
	return errors.Join(err, d.removeCgroups(), os.RemoveAll(d.dir))
}

// terminate asks the init of the process namespace, unshare's only child, to end.
func (d *docker) terminate() error {
	pid := d.process.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil //nolint:nilerr // unshare has ended already
	}
	child := strings.TrimSpace(string(b))
	if child == "" {
		return nil // it has ended
	}
	return exec.Command("kill", "-TERM", child).Run()
}

// removeCgroups removes what runc left of the daemon's parent cgroup, in every hierarchy, the innermost first.
func (d *docker) removeCgroups() error {
	found, err := filepath.Glob("/sys/fs/cgroup/*/" + d.cgroup())
	if err != nil {
		return err
	}
	for _, top := range append(found, "/sys/fs/cgroup/"+d.cgroup()) {
		var dirs []string
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // what is gone needs no removal
		})
		if err != nil {
			return err
		}
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// dial opens a connection inside the daemon's network namespace.
func (d *docker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread()
	origin, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer func() { _ = origin.Close() }()
	if err := netns.Set(d.network); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if back := netns.Set(origin); back != nil {
		return conn, errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return conn, err
}

// object is a piece of the Engine API's JSON.
type object = map[string]any

// call asks the Engine API; in is sent as JSON, or as it is when it can be read; out may be nil.
func (d *docker) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body, kind = v, "application/x-tar"
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/v1.41"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// command runs Docker's own client.
func (d *docker) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, dockerClient, append([]string{"--host", "unix://" + d.socket()}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w\n%s", args[0], err, text)
	}
	return nil
}
