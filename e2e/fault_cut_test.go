package e2e

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ikada/ikada/api"
)

// TestFaultKillDuringRequest kills ikada while a deployment is handed in: what it has acknowledged is there.
func TestFaultKillDuringRequest(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.roll(n.spec("v0", 2))
	accepted := []uint64{1}
	lost := 0
	for i := range rounds(t, 5) {
		answer := make(chan *api.Deployment, 1)
		go func() {
			r, err := n.api.Deploy(t.Context(), api.DeployRequest{Spec: n.spec(fmt.Sprintf("r%d", i), 2)})
			if err != nil {
				answer <- nil
				return
			}
			answer <- r.Deployment
		}()
		time.Sleep(time.Duration(i%6) * 3 * time.Millisecond) // another moment of the request each time
		n.Kill(t)
		if d := <-answer; d != nil {
			accepted = append(accepted, d.Number)
		} else {
			lost++
		}
		n.Start(t)
		n.acknowledged(accepted)
	}
	t.Logf("%d requests acknowledged, %d not", len(accepted)-1, lost)
	n.roll(n.spec("last", 2))
	n.audit(2)
	if _, body := get(t, n.url("/")); body != "last\n" {
		t.Errorf("%q serves", body)
	}
}

// TestFaultClientKilled kills the client in the middle of a deployment, which goes on.
func TestFaultClientKilled(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.roll(n.spec("v1", 2))
	dir := t.TempDir()
	compose := fmt.Sprintf("name: %s\nservices:\n  web:\n    image: %s\n    environment: {VERSION: v2, EXIT: '%d'}\n    ports: ['127.0.0.1:%d:8080']\n    deploy: {replicas: 2}\n",
		faultRef.App, n.image, faultExit, n.port)
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(compose), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := n.Command(t.Context(), dir, "deploy")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.eventually(20*time.Second, "the second deployment is there", func() error {
		_, err := n.api.Deployment(t.Context(), faultRef, 2)
		return err
	})
	kill(t, cmd.Process.Pid)
	_ = cmd.Wait()
	if d := n.wait(2); d.State != api.DeploySucceeded {
		t.Errorf("deployment %s: %s", d.State, d.Reason)
	}
	n.audit(2)
}

// TestFaultKillDuringPush kills ikada in the middle of a push, of which nothing may be visible.
func TestFaultKillDuringPush(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	noise := make([]byte, 32<<20)
	_, _ = rand.Read(noise)
	l, err := layer(func(w *tar.Writer) { add(w, "noise", 0o644, noise) })
	if err != nil {
		t.Fatal(err)
	}
	img, err := imageOf(v1.Config{Entrypoint: []string{"/noise"}}, l)
	if err != nil {
		t.Fatal(err)
	}
	pushed := make(chan error, 1)
	go func() { pushed <- n.push("noise:latest", img) }()
	n.eventually(20*time.Second, "the push has begun", func() error {
		if uploads, _ := filepath.Glob(filepath.Join(n.Dir, "containerd", "io.containerd.content.v1.content", "ingest", "*")); len(uploads) == 0 {
			return errors.New("no upload")
		}
		return nil
	})
	n.Kill(t)
	n.Start(t)
	if err := <-pushed; err != nil { // else the client has tried again by itself
		t.Logf("push: %v", err)
		r, err := n.api.Deploy(t.Context(), api.DeployRequest{Spec: api.AppSpec{App: "noise", Env: "production",
			Services: map[string]api.ServiceSpec{"web": {Image: n.Listen + "/noise:latest", Replicas: 1}}}})
		if err == nil {
			t.Errorf("half a push can be deployed: %+v", r)
		}
	}
	if err := n.push("noise:latest", img); err != nil {
		t.Errorf("push again: %v", err)
	}
}

// TestFaultKillDuringBuild kills ikada in the middle of a build: nothing of it stays, and it can be built again.
func TestFaultKillDuringBuild(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	n.WithImages(t)
	n.roll(n.spec("v1", 2))
	dir := t.TempDir()
	write := func(step string) {
		content := fmt.Sprintf("FROM %s/app:v1\nRUN %s\n", n.Listen, step)
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("echo begun && sleep 300")
	cmd := n.Command(t.Context(), dir, "deploy", "--app", "built")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	step := func() int {
		for _, pid := range faultProcesses(n.Dir) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if strings.HasPrefix(string(line), "sleep\x00300") {
				return pid
			}
		}
		return 0
	}
	n.eventually(30*time.Second, "the build runs its step", func() error {
		if step() == 0 {
			return errors.New("no process")
		}
		return nil
	})
	n.Kill(t)
	if err := cmd.Wait(); err == nil {
		t.Error("the client of a build that broke off succeeded")
	}
	n.Start(t)
	write("echo whole > /whole")
	n.In(t, dir, "deploy", "--app", "built").Want(t, exitDone)
	n.eventually(20*time.Second, "the step of the killed build is gone", func() error {
		if pid := step(); pid != 0 {
			return fmt.Errorf("process %d", pid)
		}
		return nil
	})
	n.eventually(20*time.Second, "the mounts of the killed build are gone", func() error {
		for _, m := range traces(t, n.Dir)["mounts"] {
			if strings.Contains(m, "/build/") {
				return errors.New(m)
			}
		}
		return nil
	})
	n.In(t, dir, "destroy", "-y", "--app", "built").Want(t, exitDone)
	n.audit(2)
}
