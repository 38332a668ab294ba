package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestFaultKeepAliveRolls rolls under a thousand clients that keep their connections.
func TestFaultKeepAliveRolls(t *testing.T) {
	n := newFaultNode(t)
	n.roll(n.spec("v0", 4))
	traffic := drive(t, n.url("/"), 1000, time.Second)
	for i := range rounds(t, 3) {
		d := n.roll(n.spec(fmt.Sprintf("v%d", i+1), 4))
		t.Logf("rolled in %v: %d requests, %d failed, longest wait %v", d.Receipt.Swap, d.Receipt.Requests, d.Receipt.Failed, d.Receipt.LongestWait)
		if d.Receipt.Failed != 0 {
			t.Errorf("the receipt counts %d failed requests", d.Receipt.Failed)
		}
	}
	traffic.stopClean(t)
	n.audit(4)
}

// TestFaultDrain lets a long request end during a swap, and cuts one that outlives the drain deadline.
func TestFaultDrain(t *testing.T) {
	t.Parallel()
	n := newFaultNode(t)
	spec := func(version string, drain time.Duration) api.AppSpec {
		s := n.spec(version, 1)
		web := s.Services["web"]
		web.Drain = api.Duration(drain)
		s.Services["web"] = web
		return s
	}
	slow := func(d time.Duration) chan error {
		done := make(chan error, 1)
		go func() { done <- request(&http.Client{Timeout: 2 * time.Minute}, n.url("/slow?for="+d.String())) }()
		n.eventually(20*time.Second, "the request is at its task", func() error {
			traffic, err := n.api.Traffic(t.Context(), faultRef, api.TrafficQuery{By: api.ByTask})
			if err == nil && !slices.ContainsFunc(traffic.Rows, func(r api.TrafficRow) bool { return r.Task == n.tasks(false)[0].ID && r.InFlight == 1 }) {
				err = fmt.Errorf("%+v", traffic.Rows)
			}
			return err
		})
		return done
	}
	n.roll(spec("v1", 30*time.Second))
	long := slow(5 * time.Second)
	d := n.roll(spec("v2", 2*time.Second))
	if err := <-long; err != nil {
		t.Errorf("a request of 5 s with 30 s to drain: %v", err)
	}
	if d.Receipt.Failed != 0 {
		t.Errorf("the receipt counts %d failed requests", d.Receipt.Failed)
	}
	cut := slow(90 * time.Second)
	began := time.Now()
	d = n.wait(n.deploy(spec("v3", 2*time.Second)).Number)
	if err := <-cut; err == nil {
		t.Error("a request of 90 s with 2 s to drain was not cut")
	}
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("the swap took %v", took)
	}
	if d.State != api.DeploySucceeded || d.Receipt.Failed != 1 {
		t.Errorf("deployment %s, receipt %+v; want the cut request to be counted", d.State, d.Receipt)
	}
	said := false
	if err := n.api.Events(t.Context(), api.EventQuery{App: faultRef.App, Env: faultRef.Env}, func(e api.Event) error {
		said = said || strings.Contains(e.Message, "requests were still in flight after 2s")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !said {
		t.Error("no event tells that requests were cut")
	}
}
