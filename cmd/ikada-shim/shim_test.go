//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/events"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ikada/ikada/internal/runtime/shimexit"
	"github.com/ikada/ikada/internal/runtime/shimlog"
)

// publisher stands for containerd; it does not answer before it is let go.
type publisher struct {
	let    chan struct{}
	topics chan string
}

func (p *publisher) Publish(_ context.Context, topic string, _ events.Event) error {
	<-p.let
	p.topics <- topic
	return errors.New("nobody there")
}

func (p *publisher) Close() error { return nil }

func TestExitIsRecordedBeforeItIsTold(t *testing.T) {
	exits, logs := t.TempDir(), t.TempDir()
	o, err := newOutput(shimexit.Output{LogDir: logs, MaxSize: 1 << 20, MaxFiles: 2, ExitDir: exits}, false)
	if err != nil {
		t.Fatal(err)
	}
	cs := newContainers()
	c := cs.add(&taskapi.CreateTaskRequest{ID: "c"}, o)
	c.isMade(os.Getpid())
	c.begins()
	if _, err := o.stdout.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	o.release()
	o.memory = filepath.Join(t.TempDir(), "memory.oom_control")
	if err := os.WriteFile(o.memory, []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	p := &publisher{let: make(chan struct{}), topics: make(chan string, 3)}
	r := newRecorder(p, cs)
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for topic, e := range map[string]*eventtypes.TaskExit{
		"exec": {ContainerID: "c", ID: "exec-1", ExitStatus: 3, ExitedAt: timestamppb.New(at)},
		"init": {ContainerID: "c", ID: "c", ExitStatus: 137, ExitedAt: timestamppb.New(at)},
	} {
		if err := r.Publish(t.Context(), topic, e); err != nil {
			t.Fatal(err)
		}
	}
	want := shimexit.Record{ID: "c", Code: 137, OOM: true, At: at}
	if got, ok, err := shimexit.Read(exits, "c"); !ok || err != nil || got != want {
		t.Errorf("record is %+v, %v, %v; want %+v", got, ok, err, want)
	}
	l, err := shimlog.Open(t.Context(), logs, shimlog.Query{Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if rec, err := l.Next(); err != nil || rec.Text != "last words" {
		t.Errorf("log has %+v, %v", rec, err)
	}
	close(p.let)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if len(p.topics) != 2 {
		t.Errorf("%d events told, want 2", len(p.topics))
	}
}

func TestKilledForMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.events")
	for content, want := range map[string]bool{
		"low 0\noom 1\noom_kill 1\noom_group_kill 0\n": true,
		"low 0\noom 1\noom_kill 0\noom_group_kill 0\n": false,
		"": false,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := (&output{memory: path}).killedForMemory(); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
	if !(&output{oom: true}).killedForMemory() {
		t.Error("what containerd's watcher saw is not believed")
	}
}
