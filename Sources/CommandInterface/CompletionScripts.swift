/// The shells that `ckpt completion` writes a script for.
public enum Shell: String, CaseIterable, Sendable {
    case bash, zsh

    /// The script that makes the shell ask `ckpt __complete` what may stand at the cursor.
    ///
    /// Commands, options and their values are found by the binary that will run, from the same descriptions
    /// as its help, so a script never goes out of date. An answer is one `WORD<tab>HELP` a line; lines that
    /// start with a colon ask the shell for its own: `:files`, `:directories`, and `:nospace`.
    public var completionScript: String {
        switch self {
        case .bash: bashScript
        case .zsh: zshScript
        }
    }
}

/// Bash cuts words at `=` and `:` (COMP_WORDBREAKS); ckpt does not, so they are put together again, and what
/// stands before the last cut is taken off the answers.
private let bashScript = #"""
    # bash completion for ckpt; load it with: source <(ckpt completion bash)
    _ckpt() {
        local -a words=()
        local index piece glue=
        for ((index = 1; index <= COMP_CWORD; index++)); do
            piece=${COMP_WORDS[index]}
            if [[ ${#words[@]} -gt 0 && ( -n $glue || $piece == [=:]* ) ]]; then
                words[${#words[@]}-1]+=$piece
            else
                words+=("$piece")
            fi
            glue=
            [[ $piece == *[=:] && $piece == [=:]* ]] && glue=yes
        done
        local current=${words[${#words[@]}-1]} head=
        [[ $current == *[=:]* ]] && head=${current%"${current##*[=:]}"}
        local line file nospace=
        COMPREPLY=()
        while IFS= read -r line; do
            case $line in
                :files)
                    compopt -o filenames 2>/dev/null
                    while IFS= read -r file; do
                        COMPREPLY+=("$file")
                    done < <(compgen -f -- "${current#"$head"}") ;;
                :directories)
                    compopt -o filenames 2>/dev/null
                    while IFS= read -r file; do
                        COMPREPLY+=("$file")
                    done < <(compgen -d -- "${current#"$head"}") ;;
                :nospace) nospace=yes ;;
                *)
                    line=${line%%$'\t'*}
                    [[ $line == "$current"* ]] && COMPREPLY+=("${line#"$head"}") ;;
            esac
        done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
        [[ -n $nospace ]] && compopt -o nospace 2>/dev/null
        return 0
    }
    complete -F _ckpt ckpt

    """#

private let zshScript = #"""
    #compdef ckpt
    # zsh completion for ckpt; load it with: source <(ckpt completion zsh)
    _ckpt() {
        local line text files= directories=
        local -a described suffix
        for line in "${(@f)$("${words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
            case $line in
                '') ;;
                :files) files=yes ;;
                :directories) directories=yes ;;
                :nospace) suffix=(-S '') ;;
                *)
                    text=${line%%$'\t'*}
                    described+=("${text//:/\\:}:${line#*$'\t'}") ;;
            esac
        done
        (( ${#described} )) && _describe -t ckpt 'ckpt' described $suffix
        if [[ -n $files$directories ]]; then
            [[ $PREFIX == --*=* ]] && compset -P '*='
            if [[ -n $directories ]]; then _files -/; else _files; fi
        fi
        return 0
    }
    if [[ ${funcstack[1]} == _ckpt ]]; then _ckpt "$@"; else compdef _ckpt ckpt; fi

    """#
