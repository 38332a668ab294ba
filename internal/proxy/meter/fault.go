package meter

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// faultLines bounds the log when everything fails at once: lines a second.
const faultLines = 10

// How many faults are kept: of one environment, and of all. A fault takes about half a kilobyte.
const (
	faultsOfEnv = 1000
	faultsOfAll = 4000
)

// longestText bounds what a fault keeps of a path, host or error, in bytes.
const longestText = 1024

// Step is where on its way a request failed.
type Step string

// The steps, in the order of a request's way.
const (
	StepPlace   Step = "find a target"
	StepConnect Step = "connect"
	StepSend    Step = "send"
	StepAnswer  Step = "get an answer"
	StepPass    Step = "pass on the answer"
	StepSwitch  Step = "switch protocols"
)

// Fault explains one failed request.
type Fault struct {
	Time    time.Time    `json:"time"`
	ID      string       `json:"id,omitempty"` // of the request
	Method  string       `json:"method,omitempty"`
	Host    string       `json:"host,omitempty"`
	Path    string       `json:"path,omitempty"` // without the query, which may hold secrets
	Env     api.EnvRef   `json:"env"`            // zero: no table had come yet
	Service string       `json:"service,omitempty"`
	Route   string       `json:"route,omitempty"` // as in Source: by which way the request came in
	Release uint64       `json:"release,omitempty"`
	Task    string       `json:"task,omitempty"` // "": none was found
	Step    Step         `json:"step"`
	Failure Failure      `json:"failure,omitempty"`
	Error   string       `json:"error"`
	Status  int          `json:"status,omitempty"` // that the client was sent; 0 is none
	Waited  api.Duration `json:"waited"`
	Retries int          `json:"retries,omitempty"`
}

// FaultLog keeps the last failed requests of each environment, and writes a line for the first few of each second; the
// next line says how many were left out. An environment where everything fails pushes out its own faults before those
// of others.
type FaultLog struct {
	log *slog.Logger

	mu      sync.Mutex
	envs    map[api.EnvRef][]Fault // oldest first
	kept    int                    // in all of them
	second  int64
	written int
	omitted int
}

// NewFaultLog makes a log that keeps nothing yet.
func NewFaultLog(log *slog.Logger) *FaultLog {
	return &FaultLog{log: log, envs: map[api.EnvRef][]Fault{}}
}

// Add keeps a fault and writes its line. It copies the strings of the request, so they may lie in a buffer that is used
// again. A zero Time is now.
func (l *FaultLog) Add(f Fault) {
	l.tidy(&f)
	if omitted, ok := l.keep(&f); ok {
		l.write(&f, omitted)
	}
}

// Note keeps a fault as Add does, and writes no line: it is for answers that a task gave, which its own log explains.
func (l *FaultLog) Note(f Fault) {
	l.tidy(&f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(&f)
}

// tidy gives a fault its time, and copies of its texts.
func (l *FaultLog) tidy(f *Fault) {
	if f.Time.IsZero() {
		f.Time = time.Now()
	}
	for _, s := range []*string{&f.ID, &f.Method, &f.Host, &f.Path, &f.Error} {
		if s == &f.Path {
			*s = withoutQuery(*s)
		}
		*s = strings.Clone(cut(*s, longestText))
	}
}

// Failures gives the last n faults of an environment, newest first; a negative n gives all that are kept. The zero
// EnvRef has those of requests that no environment could be found for.
func (l *FaultLog) Failures(env api.EnvRef, n int) []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.envs[env]
	if n >= 0 && n < len(all) {
		all = all[len(all)-n:]
	}
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}

// keep puts a fault away and tells whether it may be written, and how many were not before it.
func (l *FaultLog) keep(f *Fault) (omitted int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(f)
	if second := f.Time.Unix(); second != l.second {
		l.second, l.written = second, 0
	}
	if l.written == faultLines {
		l.omitted++
		return 0, false
	}
	l.written++
	omitted, l.omitted = l.omitted, 0
	return omitted, true
}

// put keeps a fault, in place of an older one where there is no more room. The caller holds l.mu.
func (l *FaultLog) put(f *Fault) {
	l.envs[f.Env] = append(l.envs[f.Env], *f)
	l.kept++
	if len(l.envs[f.Env]) > faultsOfEnv {
		l.drop(f.Env)
	} else if l.kept > faultsOfAll {
		l.drop(l.longest())
	}
}

// drop forgets the oldest fault of an environment.
func (l *FaultLog) drop(env api.EnvRef) {
	faults := l.envs[env]
	faults[0] = Fault{} // its strings would stay until append moves the others
	l.envs[env] = faults[1:]
	l.kept--
	if len(faults) == 1 {
		delete(l.envs, env)
	}
}

// longest gives the environment with most faults.
func (l *FaultLog) longest() (env api.EnvRef) {
	most := 0
	for e, faults := range l.envs {
		if len(faults) > most {
			env, most = e, len(faults)
		}
	}
	return env
}

func (l *FaultLog) write(f *Fault, omitted int) {
	args := []any{"app", f.Env.App, "env", f.Env.Env, "service", f.Service, "step", string(f.Step), "error", f.Error}
	if f.Task != "" {
		args = append(args, "task", f.Task)
	}
	if f.ID != "" {
		args = append(args, "request", f.ID)
	}
	if omitted > 0 {
		args = append(args, "omitted", omitted)
	}
	l.log.Warn("request failed", args...)
}
