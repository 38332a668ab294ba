package meter

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

func TestFaultLogIsSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		l := NewFaultLog(slog.New(slog.NewTextHandler(&out, nil)))
		fail := func() {
			l.Add(Fault{Env: testEnv, Service: "web", Task: "web-1", ID: "r1", Step: StepPlace, Error: "no task is ready"})
		}
		for range 25 {
			fail()
		}
		if n := strings.Count(out.String(), "\n"); n != faultLines {
			t.Errorf("%d lines in a second", n)
		}
		if want := `app=shop env=production service=web step="find a target" error="no task is ready" task=web-1 request=r1`; !strings.Contains(out.String(), want) {
			t.Errorf("log %s", out.String())
		}
		time.Sleep(time.Second)
		out.Reset()
		fail()
		if !strings.Contains(out.String(), "omitted=15") {
			t.Errorf("log %s", out.String())
		}
		out.Reset()
		l.Note(Fault{Env: testEnv, Error: "the task answered 500"})
		if all := l.Failures(testEnv, 1); out.Len() > 0 || all[0].Error != "the task answered 500" || !all[0].Time.Equal(time.Now()) {
			t.Errorf("a note is kept as %+v and logged as %q", all, out.String())
		}
		if all := l.Failures(testEnv, -1); len(all) != 27 || !all[0].Time.Equal(time.Now()) {
			t.Errorf("%d failures are kept, the last of %v", len(all), all[0].Time)
		}
	})
}

func TestFaultsOfOneEnvironmentSpareTheOthers(t *testing.T) {
	l := NewFaultLog(slog.New(slog.DiscardHandler))
	add := func(env string, n int) {
		for i := range n {
			l.Add(Fault{Env: api.EnvRef{App: "shop", Env: env}, Error: fmt.Sprint(i)})
		}
	}
	errors := func(env string, n int) string {
		var all []string
		for _, f := range l.Failures(api.EnvRef{App: "shop", Env: env}, n) {
			all = append(all, f.Error)
		}
		return strings.Join(all, " ")
	}
	add("quiet", 3)
	for i := range 8 {
		add(fmt.Sprintf("noisy-%d", i), 2500)
	}
	if got := errors("quiet", -1); got != "2 1 0" {
		t.Errorf("a quiet environment has %q", got)
	}
	if got := errors("noisy-7", 2); got != "2499 2498" {
		t.Errorf("a noisy environment has %q", got)
	}
	if got := errors("none", 5); got != "" {
		t.Errorf("an environment without faults has %q", got)
	}
	kept := 0
	for env, faults := range l.envs {
		kept += len(faults)
		if len(faults) > faultsOfEnv {
			t.Errorf("%s has %d", env, len(faults))
		}
	}
	if kept != faultsOfAll || l.kept != kept {
		t.Errorf("%d faults are kept, counted as %d", kept, l.kept)
	}
}

func TestFaultIsACopyWithoutSecrets(t *testing.T) {
	l := NewFaultLog(slog.New(slog.DiscardHandler))
	path := []byte("/login?password=hunter2")
	l.Add(Fault{Env: testEnv, Path: string(path), Host: strings.Repeat("é", 5000), Failure: Reset, Waited: api.Duration(time.Second)})
	f := l.Failures(testEnv, 1)[0]
	if f.Path != "/login" || len(f.Host) > longestText || !strings.HasSuffix(f.Host, "é") {
		t.Errorf("path %q, host of %d bytes", f.Path, len(f.Host))
	}
	b, err := json.Marshal(f)
	var back Fault
	if err != nil || json.Unmarshal(b, &back) != nil || back.Failure != Reset || back.Waited != f.Waited {
		t.Errorf("%s: %v", b, err)
	}
}
