package cli

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// commitOf gives the commit that is checked out in the git repository around a directory, "" when there is none.
// It reads the files that gitrepository-layout(5) describes, so that no git needs to be installed.
func commitOf(dir string) string {
	for {
		git := filepath.Join(dir, ".git")
		if info, err := os.Stat(git); err == nil {
			if !info.IsDir() { // a worktree or submodule: "gitdir: PATH"
				git = linkedDir(dir, git)
			}
			return headOf(git)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func linkedDir(dir, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: ")
	if ok && !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return path
}

func headOf(git string) string {
	head, err := os.ReadFile(filepath.Join(git, "HEAD"))
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(head))
	ref, symbolic := strings.CutPrefix(text, "ref: ")
	if !symbolic {
		return text
	}
	common := git
	if shared, err := os.ReadFile(filepath.Join(git, "commondir")); err == nil {
		if common = strings.TrimSpace(string(shared)); !filepath.IsAbs(common) {
			common = filepath.Join(git, common)
		}
	}
	if id, err := os.ReadFile(filepath.Join(common, ref)); err == nil {
		return strings.TrimSpace(string(id))
	}
	return packed(filepath.Join(common, "packed-refs"), ref)
}

func packed(file, ref string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if id, name, ok := strings.Cut(lines.Text(), " "); ok && name == ref {
			return id
		}
	}
	return ""
}
