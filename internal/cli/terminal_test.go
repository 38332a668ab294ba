package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/ikada/ikada/api"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext ünï":          "plain\ttext ünï",
		"a\x1b[31;1mb\x1b[0mc":     "abc",
		"a\x1b]0;title\x07b":       "ab",
		"a\x1b]8;;http://x\x1b\\b": "ab",
		"a\x1bcb":                  "ab",
		"cut\x1b[":                 "cut",
		"cut\x1b":                  "cut",
		"bell\a\r\nnul\x00":        "bellnul",
		"c1\u009bx":                "c1x",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[31mb\x1b]x\x07\x1b")
	f.Fuzz(func(t *testing.T, text string) {
		if got := printable(text); strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			t.Errorf("%q: %q", text, got)
		}
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 10, "short"},
		{"exactly ten", 11, "exactly ten"},
		{"too long", 5, "too …"},
		{"\x1b[31mred and long\x1b[0m", 6, "\x1b[31mred a…\x1b[0m"},
		{"ünïcödé", 4, "ünï…"},
		{"いかだが", 7, "いかだ…"},
		{"いかだが", 8, "いかだが"},
		{"🚀 off we go", 6, "🚀 of…"},
		{"e\u0301te\u0301", 3, "e\u0301te\u0301"},
	} {
		if got := clip(c.text, c.width); got != c.want {
			t.Errorf("%q to %d: %q", c.text, c.width, got)
		}
	}
}

// TestFrameRedraws holds that a frame goes up over exactly what it drew before.
func TestFrameRedraws(t *testing.T) {
	var out bytes.Buffer
	f := frame{t: terminal{Writer: &out}}
	f.draw([]string{"one", "two"})
	f.draw([]string{"three"})
	f.clear()
	want := "\r\x1b[Jone\ntwo\n" + "\x1b[2A\r\x1b[Jthree\n" + "\x1b[1A\r\x1b[J"
	if out.String() != want {
		t.Errorf("drew %q", out.String())
	}
}

// A line that wraps would be one more than the frame goes up by.
func TestFrameFitsItsScreen(t *testing.T) {
	var out bytes.Buffer
	f := frame{t: terminal{Writer: &out}} // 80 columns
	f.draw([]string{strings.Repeat("\tat x", 20), strings.Repeat("筏", 50)})
	for line := range strings.Lines(strings.TrimPrefix(out.String(), "\r\x1b[J")) {
		if line = strings.TrimSuffix(line, "\n"); visible(line) > 79 || strings.Contains(line, "\t") || !strings.HasSuffix(line, "…") {
			t.Errorf("drew %d columns: %q", visible(line), line)
		}
	}
}

// TestLiveViews renders both live views without a terminal.
func TestLiveViews(t *testing.T) {
	s := newShell(Options{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
	p := &rolloutProgress{s: s, now: deployment("running", api.Rollout{State: api.RolloutRolling, Want: 4, New: 3, Ready: 2, Old: 2})}
	want := []string{
		"shop/production: deployment 7 to release 4: running",
		"  web " + strings.Repeat("█", 9) + strings.Repeat("▓", 4) + strings.Repeat("▒", 9) + "·· rolling, 2 of 4 ready, 1 starting, 2 old",
	}
	if got := p.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text    string
		columns int
		want    string
	}{
		{"short", 10, "short"},
		{"  one two three", 9, "  one two|> three"},
		{"a wordthatistoolong b", 8, "a|> wordthatistoolong|> b"},
		{"筏 筏 筏", 5, "筏 筏|> 筏"},
		{"", 5, ""},
	} {
		if got := strings.Join(wrap(c.text, "> ", c.columns), "|"); got != c.want {
			t.Errorf("%q to %d: %q", c.text, c.columns, got)
		}
	}
}

// TestReasonsAreNotCut holds that the live view of a deployment has the whole of a reason on a screen of 80 columns.
func TestReasonsAreNotCut(t *testing.T) {
	s := newShell(Options{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
	why := "web.1: connect to 10.210.0.5:8080: connection refused; it listens on 127.0.0.1:8080, where only itself reaches it: let it listen on 0.0.0.0"
	for name, d := range map[string]api.Deployment{
		"rolling": deployment(api.DeployRunning, api.Rollout{State: api.RolloutRolling, Want: 2, New: 1, Reason: why}),
		"back":    deployment(api.DeployRunning, api.Rollout{Want: 2}, func(d *api.Deployment) { d.Backwards, d.Reason = true, why }),
		"check": deployment(api.DeployRunning, api.Rollout{Want: 2}, func(d *api.Deployment) {
			d.Checks = []api.CheckResult{{Name: "smoke", Result: api.VerdictFail, Reason: why}}
		}),
		"trial": deployment(api.DeploySucceeded, api.Rollout{Want: 2}, func(d *api.Deployment) {
			d.Trial, d.Verdicts = api.TrialOn, []api.Verdict{{Service: "web", Result: api.VerdictPass, Reason: why}}
		}),
	} {
		p := &rolloutProgress{s: s, trial: true, now: d}
		lines := p.lines()
		for _, line := range lines {
			if visible(line) > 79 {
				t.Errorf("%s: %d columns: %s", name, visible(line), line)
			}
		}
		if all := strings.Join(strings.Fields(strings.Join(lines, " ")), " "); !strings.Contains(all, why) {
			t.Errorf("%s: %q", name, lines)
		}
	}
}
