package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// verdict is what a tool thinks of an object.
type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// expressions are the fields of an entry of a Flux Kustomization's healthCheckExprs. The first that holds decides, in
// this order, and none means in progress.
type expressions struct {
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

const luaSeconds = 10 // for one object; Argo CD gives one second, on machines that do nothing else

// health says what those who deploy make of objects: kstatus, which Helm 4 and Flux wait by, and where they are given, a
// health check of Argo CD in Lua and the CEL expressions of a Flux Kustomization. It reads one object per line and writes
// one line of verdicts for each. kstatus is the library that Helm links; Lua runs in the interpreter that Argo CD has, with
// the libraries that its sandbox opens.
//
// Usage: health [--lua FILE] [--expressions FILE] < OBJECTS
func health(ctx context.Context) int {
	flags := flag.NewFlagSet("health", flag.ExitOnError)
	luaFile := flags.String("lua", "", "a health check of Argo CD")
	celFile := flags.String("expressions", "", "JSON with current, failed and inProgress, as in spec.healthCheckExprs")
	_ = flags.Parse(os.Args[1:])
	if err := judge(ctx, *luaFile, *celFile); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func judge(ctx context.Context, luaFile, celFile string) error {
	var script []byte
	var given *expressions
	var err error
	if luaFile != "" {
		if script, err = os.ReadFile(luaFile); err != nil {
			return err
		}
	}
	if celFile != "" {
		text, err := os.ReadFile(celFile)
		if err != nil {
			return err
		}
		given = &expressions{}
		if err := json.Unmarshal(text, given); err != nil {
			return fmt.Errorf("%s: %w", celFile, err)
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			return err
		}
		found := map[string]verdict{}
		result, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("kstatus: %w", err)
		}
		found["kstatus"] = verdict{string(result.Status), result.Message}
		if luaFile != "" {
			if found["argo"], err = inLua(ctx, object, string(script)); err != nil {
				return fmt.Errorf("%s: %w", luaFile, err)
			}
		}
		if given != nil {
			if found["flux"], err = inCEL(ctx, object, *given); err != nil {
				return fmt.Errorf("%s: %w", celFile, err)
			}
		}
		if err := out.Encode(found); err != nil {
			return err
		}
	}
	return lines.Err()
}

// inLua gives the script the object as the global `obj` and takes the table that it returns.
func inLua(ctx context.Context, object *unstructured.Unstructured, script string) (verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return verdict{}, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, luaSeconds*time.Second)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(script); err != nil {
		return verdict{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return verdict{}, fmt.Errorf("returns a %s instead of a table", state.Get(-1).Type())
	}
	text := func(key string) string {
		if value, ok := table.RawGetString(key).(lua.LString); ok {
			return string(value)
		}
		return ""
	}
	return verdict{text("status"), text("message")}, nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}

// inCEL asks the expressions as Flux does, which also looks at the generation first.
func inCEL(ctx context.Context, object *unstructured.Unstructured, given expressions) (verdict, error) {
	observed, found, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if found && observed != object.GetGeneration() {
		return verdict{Status: string(status.InProgressStatus)}, nil
	}
	for _, each := range []struct {
		expression string
		status     status.Status
	}{
		{given.InProgress, status.InProgressStatus},
		{given.Failed, status.FailedStatus},
		{given.Current, status.CurrentStatus},
	} {
		if each.expression == "" {
			continue
		}
		holds, err := holds(ctx, object, each.expression)
		if err != nil {
			return verdict{}, fmt.Errorf("%q: %w", each.expression, err)
		}
		if holds {
			return verdict{Status: string(each.status)}, nil
		}
	}
	return verdict{Status: string(status.InProgressStatus)}, nil
}

func holds(ctx context.Context, object *unstructured.Unstructured, expression string) (bool, error) {
	environment, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	)
	if err != nil {
		return false, err
	}
	parsed, issues := environment.Parse(expression)
	if issues.Err() != nil {
		return false, issues.Err()
	}
	program, err := environment.Program(parsed)
	if err != nil {
		return false, err
	}
	value, _, err := program.ContextEval(ctx, object.Object)
	if err != nil {
		return false, err
	}
	truth, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("is a %s and not a bool", value.Type())
	}
	return bool(truth), nil
}
