package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	keptLogLines = 40 // of a step, shown when the build fails
	liveLogLines = 4  // of the current step, shown while it runs
)

// buildProgress shows builds: live on a terminal, a line a finished step elsewhere. Safe for concurrent use.
type buildProgress struct {
	drawing
	s      *shell
	builds []*buildView
}

// buildView is what is known of one build.
type buildView struct {
	service string
	began   time.Time
	steps   []*stepView
	notes   []string // warnings about the build as a whole
	state   string   // "building", "built", "failed"
	image   string
	took    time.Duration
}

// stepView is one step of a build.
type stepView struct {
	name           string
	began          time.Time
	running, done  bool
	current, total int64
	log            []string
}

func (s *shell) newBuildProgress() *buildProgress {
	p := &buildProgress{s: s}
	p.begin(s.errOut, p.lines)
	return p
}

func (p *buildProgress) view(service string) *buildView {
	for _, b := range p.builds {
		if b.service == service {
			return b
		}
	}
	b := &buildView{service: service, state: "building", began: p.s.Now()}
	p.builds = append(p.builds, b)
	slices.SortFunc(p.builds, func(a, b *buildView) int { return strings.Compare(a.service, b.service) })
	return b
}

func (p *buildProgress) start(service string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view(service)
	p.line("%s: building", service)
}

func (p *buildProgress) event(service string, e api.BuildEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.view(service)
	if e.Step == "" {
		if e.Log != "" {
			b.notes = append(b.notes, "  "+printable(e.Log))
			p.line("%s: %s", service, printable(e.Log))
		}
		return
	}
	step := b.step(e.Step)
	if e.Started {
		step.running, step.began = true, p.s.Now()
	}
	transfer := e.Total > 0 || e.Current > 0 // its Log only names what is transferred
	if transfer {
		step.current, step.total = e.Current, e.Total
	}
	if e.Log != "" && !transfer {
		for line := range strings.SplitSeq(strings.TrimRight(e.Log, "\n"), "\n") {
			line = printable(line)
			step.log = append(step.log, line)
			p.line("%s: %s", service, line)
		}
		step.log = step.log[max(0, len(step.log)-keptLogLines):]
	}
	if e.Done || e.Cached {
		if !step.done {
			note := precise(e.Took)
			if e.Cached {
				note = "cached"
			}
			p.line("%s: %s (%s)", service, printable(e.Step), note)
		}
		step.done, step.running = true, false
	}
}

func (p *buildProgress) done(service, image string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.view(service)
	b.state, b.image, b.took = "built", image, p.s.Now().Sub(b.began)
	p.line("%s: built %s in %s", service, imageName(image), precise(api.Duration(b.took)))
}

// failed shows what the failing step said; the error itself is printed at the end of the run.
func (p *buildProgress) failed(service string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.view(service)
	b.state, b.took = "failed", p.s.Now().Sub(b.began)
	if p.frame == nil {
		return // its log stands there already
	}
	p.frame.clear()
	for _, step := range b.steps {
		if step.done || len(step.log) == 0 {
			continue
		}
		fmt.Fprintf(p.s.Stderr, "%s\n", p.s.errOut.paint(bold, printable(step.name)))
		for _, line := range step.log {
			fmt.Fprintf(p.s.Stderr, "  %s\n", line)
		}
	}
}

func (b *buildView) step(name string) *stepView {
	for _, s := range b.steps {
		if s.name == name {
			return s
		}
	}
	s := &stepView{name: name}
	b.steps = append(b.steps, s)
	return s
}

// line prints a plain line where there is no live view.
func (p *buildProgress) line(format string, args ...any) {
	if p.frame == nil {
		fmt.Fprintf(p.s.Stderr, format+"\n", args...)
	}
}

// lines renders the live view: a line a build, and below it the steps that run with the end of their output.
func (p *buildProgress) lines() []string {
	var out []string
	t := p.s.errOut
	for _, b := range p.builds {
		switch b.state {
		case "built":
			out = append(out, fmt.Sprintf("%s %s built in %s", t.paint(green, "✓"), t.paint(bold, b.service), precise(api.Duration(b.took))))
			out = append(out, b.notes...)
			continue
		case "failed":
			out = append(out, fmt.Sprintf("%s %s failed after %s", t.paint(red, "✗"), t.paint(bold, b.service), precise(api.Duration(b.took))))
			out = append(out, b.notes...)
			continue
		}
		finished := 0
		for _, step := range b.steps {
			if step.done {
				finished++
			}
		}
		out = append(out, fmt.Sprintf("%s %s building, %d of %s done, %s", t.paint(yellow, "●"), t.paint(bold, b.service),
			finished, plural(len(b.steps), "step"), short(p.s.Now().Sub(b.began))))
		out = append(out, b.notes...)
		for _, step := range b.steps {
			if !step.running {
				continue
			}
			out = append(out, "  "+printable(step.name)+step.transfer()+t.paint(dim, " "+short(p.s.Now().Sub(step.began))))
			for _, line := range step.log[max(0, len(step.log)-liveLogLines):] {
				out = append(out, t.paint(dim, "    "+line))
			}
		}
	}
	return out
}

func (s *stepView) transfer() string {
	if s.total > 0 {
		return fmt.Sprintf(" %s/%s", size(s.current), size(s.total))
	}
	return ""
}
