package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestFaultManyDeploys throws deployments at one environment from many clients: one runs at a time, the newest wins.
func TestFaultManyDeploys(t *testing.T) {
	t.Parallel()
	const clients, each = 10, 5
	n := newFaultNode(t)
	n.roll(n.spec("v0", 2))
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			ds, err := n.api.Deployments(ctx, faultRef)
			if err != nil {
				continue
			}
			running, queued := 0, 0
			for _, d := range ds {
				switch d.State {
				case api.DeployRunning:
					running++
				case api.DeployQueued:
					queued++
				}
			}
			if running > 1 || queued > 1 {
				t.Errorf("%d deployments run and %d wait at once", running, queued)
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	var mu sync.Mutex
	accepted := map[uint64]string{}
	var senders sync.WaitGroup
	for c := range clients {
		senders.Go(func() {
			for i := range each {
				version := fmt.Sprintf("c%d-%d", c, i)
				r, err := n.api.Deploy(t.Context(), api.DeployRequest{Spec: n.spec(version, 2)})
				if err != nil || r.Deployment == nil {
					t.Errorf("deploy %s: %v", version, err)
					return
				}
				mu.Lock()
				accepted[r.Deployment.Number] = version
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	if len(accepted) != clients*each {
		t.Fatalf("%d deployments, want %d", len(accepted), clients*each)
	}
	var newest uint64
	for number := range accepted {
		newest = max(newest, number)
	}
	if d := n.wait(newest); d.State != api.DeploySucceeded {
		t.Errorf("the newest deployment %d: %s: %s", newest, d.State, d.Reason)
	}
	cancel()
	watch.Wait()
	counts := map[api.DeploymentState]int{}
	ds, err := n.api.Deployments(t.Context(), faultRef)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		counts[d.State]++
		if !d.State.Final() {
			t.Errorf("deployment %d is still %s", d.Number, d.State)
		}
	}
	t.Logf("of %d: %v", len(ds), counts)
	n.audit(2)
	if _, body := get(t, n.url("/")); body != accepted[newest]+"\n" {
		t.Errorf("%q serves, want %q", body, accepted[newest])
	}
}
