"""What `rootless completion SHELL` prints. completion.py describes the answer that the scripts read."""

from __future__ import annotations

BASH = r"""# Completion of rootless for bash (4.4 or newer).
_rootless() {
    local typed=${COMP_LINE:0:COMP_POINT} answer
    local word=${typed##*[[:space:]]}
    # To bash a word ends at a colon or an equals sign: what stands before it is on the line already.
    local kept=${word%"${word##*[:=]}"}
    mapfile -t answer < <("$1" completion line "$typed" 2>/dev/null)
    COMPREPLY=()
    case ${answer[0]-} in
        file) compopt -o default ;;
        dir) compopt -o dirnames ;;
        words)
            COMPREPLY=("${answer[@]:1}")
            COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
            COMPREPLY=("${COMPREPLY[@]#"$kept"}")
            ;;
    esac
}
complete -o nosort -F _rootless rootless
"""

ZSH = r"""#compdef rootless
# Completion of rootless for zsh.
_rootless() {
    local -a answer items
    local line
    answer=("${(@f)$("${words[1]}" completion line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ $words[CURRENT] == -*=* ]] && compset -P '*='
    case $answer[1] in
        file) _files ;;
        dir) _files -/ ;;
        words)
            for line in "${(@)answer[2,-1]}"; do
                # _describe wants value:help, the value's own colons with a backslash.
                items+=("${${line%%$'\t'*}//:/\\:}:${${(M)line%%$'\t'*}#$'\t'}")
            done
            _describe -V rootless items
            ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _rootless "$@"
else
    compdef _rootless rootless
fi
"""

FISH = r"""# Completion of rootless for fish.
function __rootless_complete
    set -l token (commandline -ct)
    set -l answer (rootless completion line (commandline -cp | string collect) 2>/dev/null)
    switch "$answer[1]"
        case file
            __fish_complete_path $token
        case dir
            __fish_complete_directories $token
        case words
            set -e answer[1]
            # Of --option=value the part before the value belongs to the word.
            set -l kept (string match -r -- '^-[^=]*=' $token)
            for line in $answer
                echo -- "$kept$line"
            end
    end
end
complete -c rootless -f -a '(__rootless_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
