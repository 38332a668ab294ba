package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestFaultKillDuringRoll kills ikada, its containerd, or both at a random moment of rolling updates under load.
func TestFaultKillDuringRoll(t *testing.T) {
	const replicas = 10
	n := newFaultNode(t)
	n.roll(n.spec("v0", replicas))
	traffic := drive(t, n.url("/"), 4, 10*time.Millisecond)
	accepted := []uint64{1}
	var slowest, total time.Duration
	kills := 0
	states := map[api.DeploymentState]int{}
	for round := range rounds(t, 6) {
		spec := n.spec(fmt.Sprintf("v%d", round+1), replicas)
		web := spec.Services["web"]
		web.Update.Parallelism = []int{0, 3, 1}[round/3%3]
		spec.Services["web"] = web
		d := n.deploy(spec)
		accepted = append(accepted, d.Number)
		moment := rand.N(1500 * time.Millisecond)
		time.Sleep(moment) // random on purpose: any moment must do
		victim := []string{"ikada", "containerd", "both"}[round%3]
		if victim != "containerd" {
			began := time.Now()
			n.Kill(t)
			if victim == "both" {
				n.killContainerd()
			}
			up := time.Now()
			n.Start(t)
			back := n.serves(20 * time.Second)
			took := back.Sub(up)
			slowest, total, kills = max(slowest, took), total+took, kills+1
			t.Logf("round %d: %s killed after %v; serving %v after the start, %v after the kill", round, victim, moment.Round(time.Millisecond),
				took.Round(time.Millisecond), back.Sub(began).Round(time.Millisecond))
		} else {
			n.killContainerd()
			t.Logf("round %d: containerd killed after %v", round, moment.Round(time.Millisecond))
		}
		end := n.wait(d.Number)
		states[end.State]++
		if end.State != api.DeploySucceeded && end.State != api.DeployRolledBack {
			t.Errorf("round %d: deployment %d ended %s: %s", round, d.Number, end.State, end.Reason)
		}
		if end.State != api.DeploySucceeded {
			t.Logf("round %d: deployment %d: %s: %s", round, d.Number, end.State, end.Reason)
		}
		n.audit(replicas)
		n.ends(nil)
		n.acknowledged(accepted)
	}
	traffic.stopClean(t)
	if kills > 0 {
		t.Logf("take-over %v on average, %v at most; deployments %v", (total / time.Duration(kills)).Round(time.Millisecond),
			slowest.Round(time.Millisecond), states)
	}
}

// acknowledged checks that every accepted deployment is there, and the releases of the newest.
func (n *faultNode) acknowledged(accepted []uint64) {
	n.t.Helper()
	ds, err := n.api.Deployments(n.t.Context(), faultRef)
	if err != nil {
		n.t.Fatal(err)
	}
	found := map[uint64]api.Deployment{}
	for _, d := range ds {
		found[d.Number] = d
	}
	for _, number := range accepted {
		if _, ok := found[number]; !ok {
			n.t.Errorf("deployment %d was accepted and is gone", number)
		}
	}
	env := n.environment()
	for _, release := range []uint64{env.Release, found[accepted[len(accepted)-1]].To} {
		if _, err := n.api.Release(n.t.Context(), faultRef, release); err != nil {
			n.t.Errorf("release %d: %v", release, err)
		}
	}
}
