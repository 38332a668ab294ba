package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ikada/ikada/api"
)

// confirm asks a person to type a word; without a terminal --yes has to stand for it.
func (s *shell) confirm(ctx context.Context, yes bool, what, word string) error {
	if yes {
		return nil
	}
	if _, ok := s.keyboard(); !ok {
		return usagef("this would %s: say --yes to do it", what)
	}
	fmt.Fprintf(s.Stderr, "This will %s. Type %s to go on: ", what, s.errOut.paint(bold, word))
	answer, err := s.typed(ctx)
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != word {
		return &exitError{ExitError, fmt.Errorf("nothing was done: %q is not %s", answer, word)}
	}
	return nil
}

// password reads a password that never stands on the command line: from standard input, else it is asked for.
func (s *shell) password(ctx context.Context, prompt string, stdin bool) (string, error) {
	if !stdin {
		fd, ok := s.keyboard()
		if !ok {
			return "", usagef("there is no terminal to ask for the password; say --password-stdin")
		}
		show, err := hideTyping(fd)
		if err != nil {
			return "", api.Errorf(api.Internal, "hide what is typed: %w", err)
		}
		defer show()
		fmt.Fprint(s.Stderr, prompt+": ")
		secret, err := s.typed(ctx)
		if err == nil {
			fmt.Fprintln(s.Stderr)
		}
		return secret, err
	}
	line, err := bufio.NewReader(io.LimitReader(s.Stdin, api.MaxSecretBytes)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", api.Errorf(api.Internal, "read password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usagef("the password on standard input is empty")
	}
	return line, nil
}

// keyboard gives the descriptor of standard input where a person sits there.
func (s *shell) keyboard() (int, bool) {
	f, ok := s.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// typed gives the line that a person types. No signal interrupts such a read, so that at Ctrl-C it is left behind: the
// program ends then.
func (s *shell) typed(ctx context.Context) (string, error) {
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := bufio.NewReader(s.Stdin).ReadString('\n')
		read <- line{strings.TrimRight(text, "\r\n"), err}
	}()
	select {
	case l := <-read:
		if l.err != nil && !errors.Is(l.err, io.EOF) {
			return "", api.Errorf(api.Internal, "read terminal: %w", l.err)
		}
		return l.text, nil
	case <-ctx.Done():
		fmt.Fprintln(s.Stderr)
		return "", context.Cause(ctx)
	}
}

// hideTyping has a terminal not show what is typed, until the function that it gives is called.
func hideTyping(fd int) (show func(), err error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil // the program goes on or ends: nothing more can be done
}
