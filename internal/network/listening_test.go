package network

import (
	"fmt"
	"testing"

	"github.com/ikada/ikada/internal/network/networktest"
)

// TestListening holds that the listeners of an endpoint are told, and nobody else's.
func TestListening(t *testing.T) {
	n := open(t, nil)
	web := attach(t, n, networktest.Endpoint("web", "web", "a/prod/default"))
	other := attach(t, n, networktest.Endpoint("other", "other", "a/prod/default"))
	listen := func(want string) {
		t.Helper()
		got, err := n.Listening("web")
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("listens on %v (%v), want %s", got, err, want)
		}
	}
	serve(t, "", "127.0.0.1:0")
	serve(t, other.Netns, "0.0.0.0:7070")
	listen("[]")
	own := serve(t, web.Netns, "127.0.0.1:0")
	listen(fmt.Sprintf("[127.0.0.1:%d]", own))
	serve(t, web.Netns, "0.0.0.0:80")
	if seen := reach(t, other, web.Address, 80); seen != other.Address { // a connection is no listener
		t.Errorf("reached from %s", seen)
	}
	listen(fmt.Sprintf("[0.0.0.0:80 127.0.0.1:%d]", own))
}
