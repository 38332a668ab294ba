package shimenv

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const config = `{"ociVersion":"1.2.0","process":{"args":["run"],"env":["A=1","B=2"],"later":{"x":[1]}},"annotations":{"io.ikada.env-file":"ENV"},"unknown":[true]}`

func TestAdd(t *testing.T) {
	bundle, memory := t.TempDir(), t.TempDir()
	file := filepath.Join(memory, "env")
	path := filepath.Join(bundle, "config.json")
	was := strings.Replace(config, "ENV", file, 1)
	for name, text := range map[string]string{file: "B=secret\x00C=l1\nl2=\x00", path: was} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	restore, err := Add(bundle)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Process struct {
			Args, Env []string
			Later     map[string][]int
		}
		Unknown []bool
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Process.Env, []string{"A=1", "B=secret", "C=l1\nl2="}) || len(got.Process.Args) != 1 || got.Process.Later["x"][0] != 1 || !got.Unknown[0] {
		t.Errorf("%s", raw)
	}
	entries, err := os.ReadDir(bundle)
	if err != nil || len(entries) != 1 || entries[0].Type()&os.ModeSymlink == 0 {
		t.Errorf("the bundle holds more than a link: %v, %v", entries, err)
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if raw, err = os.ReadFile(path); err != nil || string(raw) != was {
		t.Errorf("restored %s, %v", raw, err)
	}
	if entries, err = os.ReadDir(memory); err != nil || len(entries) != 1 {
		t.Errorf("left in memory: %v, %v", entries, err)
	}
}

func TestAddNothing(t *testing.T) {
	bundle := t.TempDir()
	path := filepath.Join(bundle, "config.json")
	if _, err := Add(bundle); err == nil {
		t.Error("no specification: no error")
	}
	for text, fails := range map[string]bool{
		`{"process":{}}`: false, `{`: true, `{"annotations":{"io.ikada.env-file":"/nowhere/env"}}`: true,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		restore, err := Add(bundle)
		if (err != nil) != fails {
			t.Errorf("%s: %v", text, err)
		}
		if err := restore(); err != nil {
			t.Error(err)
		}
		if raw, _ := os.ReadFile(path); string(raw) != text {
			t.Errorf("changed to %s", raw)
		}
	}
}
