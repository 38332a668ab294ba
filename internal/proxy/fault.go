package proxy

import (
	"log/slog"
	"sync"
	"time"
)

// faultsPerSecond bounds the log when everything fails at once.
const faultsPerSecond = 10

// The steps at which a request can fail.
const (
	stepPlace  = "find a target"
	stepSend   = "get an answer"
	stepAnswer = "pass on the answer"
	stepSwitch = "switch protocols"
)

// faultLog writes one line for a failed request, the first few of each second; the next line says how many were
// left out.
type faultLog struct {
	log     *slog.Logger
	mu      sync.Mutex
	second  int64
	written int
	omitted int
}

func (l *faultLog) write(s *search, t *target, step string, err error) {
	omitted, ok := l.allow(time.Now().Unix())
	if !ok {
		return
	}
	env, service := s.owner()
	args := []any{"app", env.App, "env", env.Env, "service", service, "step", step, "error", err}
	if t != nil {
		args = append(args, "task", t.Task)
	}
	if omitted > 0 {
		args = append(args, "omitted", omitted)
	}
	l.log.Warn("request failed", args...)
}

func (l *faultLog) allow(second int64) (omitted int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second != l.second {
		l.second, l.written = second, 0
	}
	if l.written == faultsPerSecond {
		l.omitted++
		return 0, false
	}
	l.written++
	omitted, l.omitted = l.omitted, 0
	return omitted, true
}
