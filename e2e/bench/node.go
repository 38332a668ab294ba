package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// Where things are on the node.
const (
	stopTime = 30 * time.Second
	appPort  = 8080 // that examples/hello listens on
)

// node is ikada under measurement.
type node struct {
	bin, dir   string
	api, http  string // addresses
	web, hello uint16 // published ports of the two apps
	process    *exec.Cmd
	exited     chan error
	client     *client.Client
	token      string
	direct     *http.Client // to the balancer
	version    int          // of the two images, the one that runs
}

func newNode(bin, dir string, port int) *node {
	return &node{bin: bin, dir: dir, api: fmt.Sprintf("127.0.0.1:%d", port), http: fmt.Sprintf("127.0.0.1:%d", port+1),
		web: uint16(port + 2), hello: uint16(port + 3),
		direct: &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// up starts ikada and tells when its API answered.
func (n *node) up(ctx context.Context) (time.Duration, error) {
	if err := os.MkdirAll(n.dir, 0o711); err != nil {
		return 0, err
	}
	log, err := os.Create(filepath.Join(filepath.Dir(n.dir), "ikada.log"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	if n.client, err = client.New("unix://"+filepath.Join(n.dir, "ikada.sock"), ""); err != nil {
		return 0, err
	}
	n.process = exec.Command(n.bin, "up", "--data-dir", n.dir, "--listen", n.api, "--http", n.http)
	n.process.Stdout, n.process.Stderr = log, log
	n.process.SysProcAttr = ownGroup()
	began := time.Now()
	if err := n.process.Start(); err != nil {
		return 0, err
	}
	n.exited = make(chan error, 1)
	go func(p *exec.Cmd) { n.exited <- p.Wait() }(n.process)
	err = until(ctx, 5*time.Millisecond, "ikada's API", func() (bool, error) {
		select {
		case err := <-n.exited:
			n.exited <- err
			text, _ := os.ReadFile(log.Name())
			return false, fmt.Errorf("ikada ended: %w\n%s", err, text)
		default:
		}
		h, err := n.client.Health(ctx)
		return err == nil && h.OK, nil
	})
	return time.Since(began), err
}

// reset stops ikada and all that it runs and removes what it made, also after a failure.
func (n *node) reset() error {
	if n.process == nil {
		return nil
	}
	n.client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	text, err := exec.CommandContext(ctx, n.bin, "reset", "-y", "--data-dir", n.dir).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("ikada reset: %w\n%s", err, text)
		_ = n.process.Process.Kill()
	}
	select {
	case <-n.exited:
	case <-ctx.Done():
		err = errors.Join(err, errors.New("ikada did not stop"))
		_ = n.process.Process.Kill()
	}
	n.process = nil
	return err
}

// login makes the token that the registry asks for.
func (n *node) login(ctx context.Context) error {
	t, err := n.client.CreateToken(ctx, api.TokenRequest{Name: "bench"})
	n.token = t.Secret
	return err
}

// deploy runs `ikada deploy` and gives what it said.
func (n *node) deploy(ctx context.Context, env []string, args ...string) (api.DeployResponse, error) {
	var out api.DeployResponse
	cmd := exec.CommandContext(ctx, n.bin, append([]string{"deploy", "--json"}, args...)...)
	cmd.Env = append(append(os.Environ(), "IKADA_HOST=unix://"+filepath.Join(n.dir, "ikada.sock")), env...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	text, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("ikada deploy: %w\n%s", err, problem.Bytes())
	}
	return out, json.Unmarshal(text, &out)
}

// web is the app of the rolling updates and of single starts.
var web = api.EnvRef{App: "bench", Env: api.DefaultEnv}

func (n *node) ref(version int) string { return fmt.Sprintf("%s/bench/hello:v%d", n.api, version+1) }

func (n *node) spec(replicas int) api.AppSpec {
	update := api.Strategy{Order: api.StartFirst, Parallelism: 0, Monitor: api.Duration(time.Second), Warm: new(api.Duration)}
	return api.AppSpec{App: web.App, Env: web.Env, Services: map[string]api.ServiceSpec{"web": {
		Image: n.ref(n.version), Replicas: replicas, Ports: []api.PortSpec{{HostIP: "127.0.0.1", Published: n.web, Target: appPort}},
		Update: update, Rollback: update,
		Health: &api.HealthSpec{HTTP: &api.HTTPGet{Path: "/healthz"}, Interval: api.Duration(5 * time.Second),
			Timeout: api.Duration(2 * time.Second), Retries: 3, StartPeriod: api.Duration(time.Minute)},
	}}}
}

// put deploys the app without measuring.
func (n *node) put(ctx context.Context, spec api.AppSpec) error {
	resp, err := n.client.Deploy(ctx, api.DeployRequest{Spec: spec})
	if err != nil || resp.Unchanged {
		return err
	}
	return n.settled(ctx, api.EnvRef{App: spec.App, Env: spec.Env}, resp.Deployment.Number)
}

// roll deploys the app with another image and tells when only ready tasks of the new release were left. It returns once the
// deployment has ended too.
func (n *node) roll(ctx context.Context, spec api.AppSpec) (time.Duration, error) {
	began := time.Now()
	resp, err := n.client.Deploy(ctx, api.DeployRequest{Spec: spec})
	if err != nil {
		return 0, err
	}
	ref := api.EnvRef{App: spec.App, Env: spec.Env}
	if err := n.swapped(ctx, ref, resp.Release, spec.Services["web"].Replicas); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, n.settled(ctx, ref, resp.Deployment.Number)
}

// swapped waits until the only tasks that serve are want ready ones of the release.
func (n *node) swapped(ctx context.Context, ref api.EnvRef, release uint64, want int) error {
	return until(ctx, pollEvery, "tasks of the new release", func() (bool, error) {
		tasks, err := n.client.Tasks(ctx, ref, false)
		if err != nil {
			return false, err
		}
		tasks = slices.DeleteFunc(tasks, func(t api.TaskView) bool { return t.Desired == api.WantWarm })
		for _, t := range tasks {
			if t.Release != release || t.State() != api.TaskReady {
				return false, nil
			}
		}
		return len(tasks) == want, nil
	})
}

// settled waits for a deployment's end, which is to be success.
func (n *node) settled(ctx context.Context, ref api.EnvRef, number uint64) error {
	return until(ctx, 50*time.Millisecond, "the deployment's end", func() (bool, error) {
		d, err := n.client.Deployment(ctx, ref, number)
		if err != nil || !d.State.Final() {
			return false, err
		}
		if d.State != api.DeploySucceeded {
			return false, fmt.Errorf("deployment %d: %s: %s", d.Number, d.State, d.Reason)
		}
		return true, nil
	})
}

// start scales the app from no task to one and tells when a request through the balancer was answered.
func (n *node) start(ctx context.Context) (time.Duration, error) {
	env, err := n.client.Scale(ctx, web, api.ScaleRequest{"web": 0})
	if err != nil {
		return 0, err
	}
	if err := n.swapped(ctx, web, env.Release, 0); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := n.client.Scale(ctx, web, api.ScaleRequest{"web": 1}); err != nil {
		return 0, err
	}
	if err := n.answers(ctx); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

func (n *node) url(port uint16) string { return fmt.Sprintf("http://127.0.0.1:%d/", port) }

// answers waits for the app's first answer.
func (n *node) answers(ctx context.Context) error {
	return until(ctx, answerEvery, "the app's answer", func() (bool, error) {
		return hello(ctx, n.direct, n.url(n.web)) == nil, nil
	})
}

// plain is the ordinary way to connect.
var plain dialer = (&net.Dialer{}).DialContext
