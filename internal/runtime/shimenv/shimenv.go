// Package shimenv gives a container's process variables that must not lie on disk.
//
// containerd keeps a container's specification in its database; so that names only the file, in memory, in which the
// variables stand ([Annotation]). While runc reads the bundle's copy of the specification, the shim has one with the
// variables in its place, which lies beside that file ([Add]); a command within the container gets them by [Read]. The
// package is a part of the shim and keeps no state. Start at [Add].
package shimenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Annotation is the key under which a container's specification names the file: absolute, NAME=VALUE each ended by a
// zero byte.
const Annotation = "io.ikada.env-file"

const configFile = "config.json" // of a bundle, as the OCI runtime specification has it

// Read gives the variables that annotations name, NAME=VALUE each; none when there is no such annotation.
func Read(annotations map[string]string) ([]string, error) {
	path := annotations[Annotation]
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read secret variables: %w", err)
	}
	var env []string
	for kv := range bytes.SplitSeq(content, []byte{0}) {
		if len(kv) > 0 {
			env = append(env, string(kv))
		}
	}
	return env, nil
}

// Add adds the variables to the process of a bundle's specification, in the place of others by their names. restore
// puts back what was there before, and must be called once the container is made, or could not be.
func Add(bundle string) (restore func() error, err error) {
	nothing := func() error { return nil }
	path := filepath.Join(bundle, configFile)
	was, err := os.ReadFile(path)
	if err != nil {
		return nothing, fmt.Errorf("read specification: %w", err)
	}
	var head struct {
		Annotations map[string]string
	}
	if err := json.Unmarshal(was, &head); err != nil {
		return nothing, fmt.Errorf("decode specification: %w", err)
	}
	secret, err := Read(head.Annotations)
	if err != nil || len(secret) == 0 {
		return nothing, err
	}
	now, err := withEnv(was, secret)
	if err != nil {
		return nothing, err
	}
	inMemory := filepath.Join(filepath.Dir(head.Annotations[Annotation]), configFile)
	if err := os.WriteFile(inMemory, now, 0o600); err != nil {
		return nothing, fmt.Errorf("write specification: %w", err)
	}
	restore = func() error {
		return errors.Join(replace(path, func(name string) error { return os.WriteFile(name, was, 0o600) }), os.Remove(inMemory))
	}
	if err := replace(path, func(name string) error { return os.Symlink(inMemory, name) }); err != nil {
		return nothing, errors.Join(err, os.Remove(inMemory))
	}
	return restore, nil
}

// withEnv gives a specification with further variables; all else stays as it is, known here or not.
func withEnv(config []byte, secret []string) ([]byte, error) {
	var spec, process map[string]json.RawMessage
	if err := json.Unmarshal(config, &spec); err != nil {
		return nil, fmt.Errorf("decode specification: %w", err)
	}
	if err := json.Unmarshal(spec["process"], &process); err != nil {
		return nil, fmt.Errorf("decode process of the specification: %w", err)
	}
	var env []string
	if raw, ok := process["env"]; ok {
		if err := json.Unmarshal(raw, &env); err != nil {
			return nil, fmt.Errorf("decode variables of the specification: %w", err)
		}
	}
	var err error
	if process["env"], err = json.Marshal(merge(env, secret)); err == nil {
		if spec["process"], err = json.Marshal(process); err == nil {
			return json.Marshal(spec)
		}
	}
	return nil, fmt.Errorf("encode specification: %w", err)
}

// merge puts variables in the place of those that have their names.
func merge(env, over []string) []string {
	names := map[string]bool{}
	for _, kv := range over {
		name, _, _ := strings.Cut(kv, "=")
		names[name] = true
	}
	out := make([]string, 0, len(env)+len(over))
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); !names[name] {
			out = append(out, kv)
		}
	}
	return append(out, over...)
}

// replace puts what put makes under another name in a file's place at once.
func replace(path string, put func(name string) error) error {
	name := path + ".new"
	_ = os.Remove(name) // of a shim that was killed
	err := put(name)
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		_ = os.Remove(name)
		return fmt.Errorf("write specification: %w", err)
	}
	return nil
}
