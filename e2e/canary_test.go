package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestCanaryByHand leads a canary through its steps: it stays at each until it is told to go on, gets its share and the
// requests that ask for it, and goes back from the middle when it is cancelled. No request fails.
func TestCanaryByHand(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(fmt.Sprintf(`
services:
  web:
    image: {registry}/app:%s
    ports: ["{port}:8080"]
    deploy: {replicas: 2, update_config: {monitor: 500ms}}
    x-ikada:
      health: {http: /healthz}
      strategy:
        type: canary
        steps: [{weight: 0%%, hold: true}, {weight: 50%%, hold: true}]
        match: {headers: {x-beta: "*"}, cookies: {lane: new}}
        bake: 0s
        warm: 0s
`, version))
	}
	compose("v1")
	a.Deploy()
	compose("v2")
	load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
	atStep := func(deployment uint64, step int) {
		t.Helper()
		Until(t, time.Minute, func() string {
			d, err := a.Client(t).Deployment(t.Context(), a.Ref(), deployment)
			if err != nil {
				return err.Error()
			}
			if len(d.Rollouts) == 1 && d.Rollouts[0].State == api.RolloutPaused && d.Rollouts[0].Step == step {
				return ""
			}
			return fmt.Sprintf("deployment %d is %s: %+v", d.Number, d.State, d.Rollouts)
		})
	}
	answer := func(headers ...[2]string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL("/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			req.Header.Set(h[0], h[1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s, %v", resp.Status, b, err)
		}
		return string(b)
	}
	beta, lane := [2]string{"X-Beta", "1"}, [2]string{"Cookie", "a=b; lane=new"}
	lanes := func(canary string) {
		t.Helper()
		Until(t, time.Minute, func() string { // the balancer hears of a step after it was written down
			if got := answer(beta, lane); got != canary {
				return got + " answers where " + canary + " is asked for"
			}
			return ""
		})
		for range 10 {
			if got := answer(lane, beta); got != canary {
				t.Fatalf("%s answers where %s is asked for", got, canary)
			}
			for _, others := range [][][2]string{{beta}, {lane}, {beta, {"Cookie", "lane=old"}}, {{"X-Other", "1"}, lane}} {
				if got := answer(others...); got != "v1" { // all that is asked for must be there
					t.Fatalf("with %q it is %s that answers", others, got)
				}
			}
		}
	}

	a.Run("deploy", "--detach").Want(t, exitDone)
	atStep(2, 1)
	lanes("v2")
	if n := load.Seen("v2"); n > 0 {
		t.Errorf("%d requests went to a canary that is to have none", n)
	}
	a.Run("resume").Want(t, exitDone, "goes on")
	atStep(2, 2)
	before := load.Seen("v1")
	Until(t, time.Minute, func() string {
		if load.Seen("v2") < 20 || load.Seen("v1") < before+20 {
			return "both releases to serve"
		}
		return ""
	})
	a.Run("cancel").Want(t, exitDone, "goes back to release 1")
	a.Run("watch", "2").Want(t, exitCancelled)
	lanes("v1")

	a.Run("deploy", "--detach").Want(t, exitDone)
	atStep(3, 1)
	a.Run("resume").Want(t, exitDone)
	atStep(3, 2)
	a.Run("pause").Want(t, exitDone, "stays where it is")
	a.Run("resume").Want(t, exitDone, "goes on") // which is a step that holds at the same time
	a.Run("watch", "3").Want(t, exitDone)
	if got := answer(); got != "v2" {
		t.Errorf("after the deployment %s answers", got)
	}
	load.StopClean(t, 50)
}

// TestBlueGreenSwitchesAtOnce: a client that asks one request after another never meets the old release again once it has
// met the new one, and likewise on the way back.
func TestBlueGreenSwitchesAtOnce(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(fmt.Sprintf(`
services:
  web:
    image: {registry}/app:%s
    ports: ["{port}:8080"]
    deploy: {replicas: 3, update_config: {monitor: 500ms}, rollback_config: {monitor: 500ms}}
    x-ikada: {health: {http: /healthz}, strategy: {type: blue-green, bake: 0s}}
`, version))
	}
	compose("v1")
	a.Deploy()
	compose("v2")
	// switches runs a command and gives the releases that a client met meanwhile, each as often as it came anew.
	switches := func(args ...string) []string {
		var met []string
		over, left := make(chan struct{}), make(chan struct{})
		end := sync.OnceFunc(func() {
			close(over)
			<-left
		})
		defer end()
		go func() {
			defer close(left)
			for {
				code, body, err := ask(a.URL("/"))
				if err != nil || code != http.StatusOK {
					t.Errorf("during %v: %d %s %v", args, code, body, err)
				}
				if len(met) == 0 || met[len(met)-1] != body {
					met = append(met, body)
				}
				select {
				case <-over:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		a.Run(args...).Want(t, exitDone)
		end()
		return met
	}
	if met := switches("deploy"); !slices.Equal(met, []string{"v1", "v2"}) {
		t.Errorf("a client met %q on the way there", met)
	}
	if met := switches("rollback"); !slices.Equal(met, []string{"v2", "v1"}) {
		t.Errorf("a client met %q on the way back", met)
	}
}
