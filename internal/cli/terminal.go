package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// The styles, as SGR parameters (ECMA-48).
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// terminal is a writer that may be a terminal.
type terminal struct {
	io.Writer
	live   bool // a terminal that can be redrawn
	colour bool
	fd     int
}

func newTerminal(w io.Writer, plain bool) terminal {
	t := terminal{Writer: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.fd = int(f.Fd())
		t.live = os.Getenv("TERM") != "dumb"
		t.colour = t.live && !plain
	}
	return t
}

func (t terminal) paint(style, text string) string {
	if !t.colour || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// size gives columns and rows; 80 by 24 when unknown.
func (t terminal) size() (int, int) {
	if w, h, err := term.GetSize(t.fd); t.live && err == nil && w > 0 && h > 0 {
		return w, h
	}
	return 80, 24
}

// frame is a part of the terminal that is drawn again and again. Not safe for concurrent use.
type frame struct {
	t     terminal
	drawn int // lines of it on the screen
}

// tab stands for a tab, whose width depends on where it is.
const tab = "    "

// draw replaces what was drawn before. Lines are cut to the width of the screen, the first ones to its height.
func (f *frame) draw(lines []string) {
	columns, height := f.t.size()
	if most := max(height-1, 1); len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	var b strings.Builder
	if f.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", f.drawn)
	}
	b.WriteString("\r\x1b[J")
	for _, line := range lines {
		b.WriteString(clip(strings.ReplaceAll(line, "\t", tab), columns-1))
		b.WriteByte('\n')
	}
	f.drawn = len(lines)
	_, _ = io.WriteString(f.t, b.String())
}

// clear takes the frame off the screen.
func (f *frame) clear() {
	if f.drawn > 0 {
		_, _ = fmt.Fprintf(f.t, "\x1b[%dA\r\x1b[J", f.drawn)
		f.drawn = 0
	}
}

// columnsOf gives how many columns of a terminal a character takes: two for one that is wide in East Asian writing (Unicode
// Standard Annex 11), most emoji among them, none for one that is put upon the one before.
func columnsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// visible counts the columns that text takes, SGR sequences left out.
func visible(text string) int {
	n := 0
	for len(text) > 0 {
		if strings.HasPrefix(text, "\x1b[") {
			if end := strings.IndexByte(text, 'm'); end >= 0 {
				text = text[end+1:]
				continue
			}
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		n += columnsOf(r)
	}
	return n
}

// clip cuts text to a number of columns and keeps its styles closed.
func clip(text string, columns int) string {
	if visible(text) <= columns {
		return text
	}
	var b strings.Builder
	n, styled := 0, false
	for len(text) > 0 {
		if strings.HasPrefix(text, "\x1b[") {
			if end := strings.IndexByte(text, 'm'); end >= 0 {
				b.WriteString(text[:end+1])
				text, styled = text[end+1:], true
				continue
			}
		}
		r, size := utf8.DecodeRuneInString(text)
		if n += columnsOf(r); n > columns-1 {
			break
		}
		b.WriteString(text[:size])
		text = text[size:]
	}
	b.WriteString("…")
	if styled {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// wrap breaks text at its spaces into lines of some columns; those after the first begin with indent. A word that is
// longer stays whole.
func wrap(text, indent string, columns int) []string {
	var lines []string
	line := ""
	for i, word := range strings.Split(text, " ") {
		switch {
		case i == 0:
			line = word
		case visible(line)+1+visible(word) <= columns:
			line += " " + word
		default:
			lines = append(lines, line)
			line = indent + word
		}
	}
	return append(lines, line)
}

// printable drops what could steer the terminal from text that others wrote: escape sequences (ECMA-48) and control
// characters but tabs.
func printable(text string) string {
	if !strings.ContainsFunc(text, steers) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		if text[0] == 0x1b {
			text = text[escape(text):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		if !steers(r) {
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}

func steers(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }

// escape gives the length of the escape sequence that text begins with: CSI up to its final byte, OSC up to BEL or ST,
// any other two bytes.
func escape(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[':
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
		}
		return len(text)
	case ']':
		for i := 2; i < len(text); i++ {
			if text[i] == 0x07 {
				return i + 1
			}
			if strings.HasPrefix(text[i:], "\x1b\\") {
				return i + 2
			}
		}
		return len(text)
	}
	return 2
}
