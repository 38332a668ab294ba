package main

import (
	"bufio"
	"cmp"
	"context"
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/e2e/markdown"
)

const (
	profileRate  = "997" // samples a second of each CPU
	profileLines = 15
	module       = "github.com/ikada/ikada/"
	meterPackage = module + "internal/proxy/meter"
	meterGoal    = 0.03            // of the CPU time
	profileTime  = 5 * time.Second // at least
)

// profile is where ikada's CPU time went under a load. Shares are of the samples.
type profile struct {
	scenario string
	title    string
	samples  int
	metered  int            // with the meters anywhere on the stack
	packages map[string]int // by the package of the innermost function; the kernel's by system call
	leaves   map[string]int // by the innermost function
}

// profiled samples the balancer's stacks with perf during a scenario's measurement. The program has no symbols; its table of lines,
// which every Go program carries, tells function and file of an address, inlined calls too.
func (b *bench) profiled(ctx context.Context, p *peer, s scenario) (prof *profile, err error) {
	long := *b
	long.duration = max(b.duration, profileTime)
	i, err := b.launch(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, i.stop()) }()
	pids, err := i.pids()
	if err != nil {
		return nil, err
	}
	loaded := make(chan error, 1)
	go func() {
		_, err := s.measure(ctx, &long, p, i)
		loaded <- err
	}()
	data := filepath.Join(b.dir, "perf.data")
	// The load's first moments are its own connecting, and its end must not be sampled.
	span := long.duration - 500*time.Millisecond
	_, err = command(ctx, "perf", "record", "--quiet", "-F", profileRate, "-g", "-p", fmt.Sprint(pids[0]), "-o", data,
		"--", "sleep", fmt.Sprintf("%.1f", span.Seconds()))
	if err := errors.Join(err, <-loaded); err != nil {
		return nil, err
	}
	out, err := command(ctx, "perf", "script", "-i", data, "-F", "ip,sym,dso", "--no-inline")
	if err != nil {
		return nil, err
	}
	lines, err := openLines(b.ikada)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	prof = &profile{title: "Where ikada's CPU time goes: " + s.title, scenario: s.name,
		packages: map[string]int{}, leaves: map[string]int{}}
	prof.read(strings.NewReader(out), lines)
	if prof.samples == 0 {
		return nil, errors.New("perf took no samples")
	}
	return prof, nil
}

// frame is one call on a stack.
type frame struct {
	kernel       bool
	name, origin string // function; package or library
}

// read counts the stacks of perf script, each some lines, innermost first, and an empty one.
func (p *profile) read(r io.Reader, lines *lineTable) {
	var stack []frame
	flush := func() {
		if len(stack) > 0 {
			p.count(stack)
		}
		stack = stack[:0]
	}
	in := bufio.NewScanner(r)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) < 2 {
			flush()
			continue
		}
		addr, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			continue
		}
		library := strings.Trim(fields[len(fields)-1], "()")
		switch {
		case int64(addr) < 0: // the kernel's half of the addresses
			stack = append(stack, frame{kernel: true, name: fields[1], origin: "kernel"})
		case filepath.Base(library) == filepath.Base(lines.path):
			stack = append(stack, lines.frame(addr, len(stack) > 0 && !stack[len(stack)-1].kernel))
		default:
			stack = append(stack, frame{name: fields[1], origin: library})
		}
	}
	flush()
}

func (p *profile) count(stack []frame) {
	p.samples++
	leaf := stack[0]
	p.leaves[leaf.name]++
	if slices.ContainsFunc(stack, func(f frame) bool { return f.origin == meterPackage }) {
		p.metered++
	}
	if !leaf.kernel {
		p.packages[strings.TrimPrefix(leaf.origin, module)]++
		return
	}
	p.packages["kernel: "+systemCall(stack)]++
}

// doCalls are system calls whose outer functions the compiler has left out of the stack.
var doCalls = []string{"epoll_wait", "epoll_ctl", "readv", "writev"}

// systemCall names the call into the kernel that a stack is in.
func systemCall(stack []frame) string {
	for _, f := range stack {
		for _, prefix := range []string{"__x64_sys_", "ksys_", "__sys_", "do_"} {
			name, ok := strings.CutPrefix(f.name, prefix)
			if ok && f.kernel && (prefix != "do_" || slices.Contains(doCalls, name)) {
				return name
			}
		}
	}
	return "other"
}

// lineTable tells functions and packages of a Go program's addresses.
type lineTable struct {
	*elf.File
	path  string
	table *gosym.Table
}

func openLines(path string) (*lineTable, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	l := &lineTable{File: f, path: path}
	text, lines := f.Section(".text"), f.Section(".gopclntab")
	if text == nil || lines == nil {
		return nil, errors.Join(fmt.Errorf("%s has no table of lines", path), f.Close())
	}
	data, err := lines.Data()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if l.table, err = gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// frame finds what is at an offset in the program's file, which is how perf tells addresses. That of a caller is
// where it goes on, so that the call itself is before it.
func (l *lineTable) frame(offset uint64, caller bool) frame {
	if caller {
		offset--
	}
	for _, p := range l.Progs {
		if p.Type == elf.PT_LOAD && p.Off <= offset && offset < p.Off+p.Filesz {
			file, _, fn := l.table.PCToLine(offset - p.Off + p.Vaddr)
			if fn != nil {
				return frame{name: fn.Name, origin: path.Dir(file)}
			}
		}
	}
	return frame{name: "unknown", origin: "unknown"}
}

// print writes the shares.
func (p *profile) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s (%d samples)\n\n", p.title, p.samples)
	lines := [][]string{{"package or system call", "share", "function", "share"}}
	packages, leaves := p.top(p.packages), p.top(p.leaves)
	for i := range max(len(packages), len(leaves)) {
		line := []string{"", "", "", ""}
		if i < len(packages) {
			copy(line, packages[i][:])
		}
		if i < len(leaves) {
			copy(line[2:], leaves[i][:])
		}
		lines = append(lines, line)
	}
	markdown.Table(w, lines)
	_, _ = fmt.Fprintf(w, "\nMeters, with all that they call: %s.\n", percent(p.metered, p.samples))
}

// top gives what has most samples, with its share.
func (p *profile) top(counts map[string]int) [][2]string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	var out [][2]string
	for _, name := range names[:min(profileLines, len(names))] {
		out = append(out, [2]string{name, percent(counts[name], p.samples)})
	}
	return out
}

func percent(part, whole int) string { return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole)) }

// profile adds ikada's profiles to the report, if it is among the peers and perf is there: one of each scenario that
// was asked for, with the first of its numbers of connections.
func (b *bench) profile(ctx context.Context, scenarios []scenario) error {
	i := slices.IndexFunc(b.peers, func(p *peer) bool { return p.name == "ikada" })
	if i < 0 {
		return nil
	}
	if _, err := exec.LookPath("perf"); err != nil {
		b.report.note("There is no profile, and so no share of the meters: %v.", err)
		return nil
	}
	for name := range strings.SplitSeq(b.profiles, ",") {
		s := scenarios[slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })]
		progress("profiling ikada: %s", s.title)
		prof, err := b.profiled(ctx, b.peers[i], s)
		if err != nil {
			return fmt.Errorf("profile ikada: %s: %w", s.title, err)
		}
		b.report.profiles = append(b.report.profiles, prof)
	}
	return nil
}
