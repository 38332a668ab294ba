package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// fakeHooks notes what tests were sent.
type fakeHooks struct{ sent []string }

func (f *fakeHooks) Test(_ context.Context, h api.Hook, target api.HookTarget, by string) (api.HookResult, error) {
	f.sent = append(f.sent, h.Name+" "+target.URL+" "+by)
	return api.HookResult{Status: 204}, nil
}

func TestHooks(t *testing.T) {
	b := newBench(t)
	const url = "https://hooks.test/services/T0/hunter2"
	made, err := b.client.CreateHook(b.ctx(), api.HookRequest{Name: "chat", URL: url, Format: api.HookSlack, On: []string{"failure", "rollback", "failure"}})
	if err != nil || !strings.HasPrefix(made.Secret, "ikh_") || made.Host != "https://hooks.test" || fmt.Sprint(made.On) != "[failure rollback]" || made.Scope != "*/*" || made.CreatedBy != "root" {
		t.Fatalf("%+v, %v", made, err)
	}
	b.put(store.HookStates+"chat", api.HookState{Delivered: 3, Problem: "it answered 500"})
	list, err := b.client.Hooks(b.ctx())
	if err != nil || len(list) != 1 || list[0].State.Delivered != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if r, err := b.client.TestHook(b.ctx(), "chat"); err != nil || r.Status != 204 || fmt.Sprint(b.hooks.sent) != "[chat "+url+" root]" {
		t.Errorf("%+v, %v: %v", r, err, b.hooks.sent)
	}
	_, err = b.client.CreateHook(b.ctx(), api.HookRequest{Name: "chat", URL: url})
	wantKind(t, err, api.Conflict, "chat")
	for _, req := range []api.HookRequest{
		{Name: "", URL: url}, {Name: "A", URL: url}, {Name: "x", URL: "hooks.test/hunter2"}, {Name: "x", URL: "ftp://hunter2"},
		{Name: "x", URL: "https:///hunter2"}, {Name: "x", URL: "https://a/" + strings.Repeat("x", 3000)}, {Name: "x", URL: "https://a/#hunter2"},
		{Name: "x", URL: url, Format: "xml"}, {Name: "x", URL: url, On: []string{"sunrise"}}, {Name: "x", URL: url, Scope: "shop"},
	} {
		_, err := b.client.CreateHook(b.ctx(), req)
		wantKind(t, err, api.Invalid)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the address is repeated: %v", err)
		}
	}
	// Address and secret are sealed, and told nowhere.
	text, _ := json.Marshal(list)
	for _, where := range []string{b.dump(), b.log.String(), string(text), fmt.Sprint(b.audit.list)} {
		if strings.Contains(where, "hunter2") || strings.Contains(where, made.Secret) {
			t.Errorf("address or secret stands in %s", where)
		}
	}
	if err := b.client.DeleteHook(b.ctx(), "chat"); err != nil {
		t.Fatal(err)
	}
	if get[api.HookState](b, store.HookStates+"chat") != nil {
		t.Error("a removed hook leaves its state")
	}
	wantKind(t, b.client.DeleteHook(b.ctx(), "chat"), api.NotFound, "chat")
	for i := range api.MaxHooks {
		if _, err := b.client.CreateHook(b.ctx(), api.HookRequest{Name: fmt.Sprint("h", i), URL: url}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = b.client.CreateHook(b.ctx(), api.HookRequest{Name: "more", URL: url})
	wantKind(t, err, api.Exhausted, "50")
}
