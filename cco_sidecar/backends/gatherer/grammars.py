"""Which nodes of a tree-sitter grammar make an outline, by language."""

from collections.abc import Mapping

from attrs import field, frozen


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@frozen
class Grammar:
    """Where a grammar is found, and what its nodes mean to an outline.

    ``definitions`` are shown by their signatures, ``containers`` too, and are looked into; ``details`` (fields,
    constants, imports) count for less. ``wrappers`` are looked through; so are ``prefixes``, which also belong to what
    they hold.
    """

    module: str
    function: str = "language"
    definitions: frozenset[str] = field(default="", converter=_words, kw_only=True)
    containers: frozenset[str] = field(default="", converter=_words, kw_only=True)
    details: frozenset[str] = field(default="", converter=_words, kw_only=True)
    wrappers: frozenset[str] = field(default="", converter=_words, kw_only=True)
    prefixes: frozenset[str] = field(default="", converter=_words, kw_only=True)


_JAVASCRIPT_DEFINITIONS = (
    "function_declaration generator_function_declaration method_definition lexical_declaration variable_declaration "
)
_TYPESCRIPT = {
    "definitions": _JAVASCRIPT_DEFINITIONS
    + "function_signature type_alias_declaration method_signature abstract_method_signature call_signature",
    "containers": "class_declaration abstract_class_declaration interface_declaration enum_declaration internal_module "
    "module",
    "details": "import_statement public_field_definition property_signature enum_assignment",
    "wrappers": "statement_block expression_statement",
    "prefixes": "export_statement ambient_declaration",
}
_C_DETAILS = "preproc_include preproc_def preproc_function_def field_declaration enumerator declaration "
_C_WRAPPERS = (
    "preproc_ifdef preproc_if preproc_else preproc_elif linkage_specification declaration_list field_declaration_list "
    "struct_specifier union_specifier enum_specifier enumerator_list"
)

GRAMMARS: Mapping[str, Grammar] = {
    "python": Grammar(
        "tree_sitter_python",
        definitions="function_definition",
        containers="class_definition",
        details="import_statement import_from_statement expression_statement type_alias_statement",
        wrappers="if_statement else_clause elif_clause try_statement except_clause with_statement block",
        prefixes="decorated_definition",
    ),
    "javascript": Grammar(
        "tree_sitter_javascript",
        definitions=_JAVASCRIPT_DEFINITIONS,
        containers="class_declaration",
        details="import_statement field_definition expression_statement",
        prefixes="export_statement",
    ),
    "typescript": Grammar("tree_sitter_typescript", "language_typescript", **_TYPESCRIPT),
    "tsx": Grammar("tree_sitter_typescript", "language_tsx", **_TYPESCRIPT),
    "go": Grammar(
        "tree_sitter_go",
        definitions="function_declaration method_declaration",
        containers="type_declaration",
        details="package_clause import_declaration const_declaration var_declaration field_declaration method_elem",
        wrappers="type_spec struct_type interface_type field_declaration_list",
    ),
    "rust": Grammar(
        "tree_sitter_rust",
        definitions="function_item function_signature_item macro_definition type_item union_item",
        containers="impl_item trait_item struct_item enum_item mod_item",
        details="use_declaration const_item static_item field_declaration enum_variant associated_type",
        wrappers="foreign_mod_item declaration_list",
    ),
    "java": Grammar(
        "tree_sitter_java",
        definitions="method_declaration constructor_declaration compact_constructor_declaration",
        containers="class_declaration interface_declaration enum_declaration record_declaration "
        "annotation_type_declaration",
        details="package_declaration import_declaration field_declaration constant_declaration enum_constant",
        wrappers="enum_body_declarations",
    ),
    "c": Grammar(
        "tree_sitter_c",
        definitions="function_definition",
        containers="type_definition struct_specifier union_specifier enum_specifier",
        details=_C_DETAILS,
        wrappers=_C_WRAPPERS,
    ),
    "c++": Grammar(
        "tree_sitter_cpp",
        definitions="function_definition concept_definition",
        containers="type_definition class_specifier struct_specifier union_specifier enum_specifier "
        "namespace_definition",
        details=_C_DETAILS + "using_declaration alias_declaration friend_declaration",
        wrappers=_C_WRAPPERS,
        prefixes="template_declaration",
    ),
    "ruby": Grammar(
        "tree_sitter_ruby",
        definitions="method singleton_method",
        containers="class module singleton_class",
        details="assignment call",
        wrappers="body_statement",
    ),
    "c#": Grammar(
        "tree_sitter_c_sharp",
        definitions="method_declaration constructor_declaration destructor_declaration operator_declaration "
        "indexer_declaration delegate_declaration local_function_statement",
        containers="class_declaration interface_declaration struct_declaration record_declaration enum_declaration "
        "namespace_declaration file_scoped_namespace_declaration",
        details="using_directive field_declaration property_declaration event_declaration event_field_declaration "
        "enum_member_declaration",
        wrappers="global_statement declaration_list preproc_if preproc_region",
    ),
    "php": Grammar(
        "tree_sitter_php",
        "language_php",
        definitions="function_definition method_declaration",
        containers="class_declaration interface_declaration trait_declaration enum_declaration",
        details="namespace_definition namespace_use_declaration use_declaration const_declaration property_declaration "
        "enum_case",
        wrappers="compound_statement",
    ),
    "shell": Grammar(
        "tree_sitter_bash",
        definitions="function_definition",
        details="variable_assignment declaration_command",
        wrappers="if_statement list",
    ),
}
ALTERNATIVES: Mapping[str, str] = {"typescript": "tsx", "c": "c++"}
"""What else a text may be that its grammar finds wrong: the ending alone does not tell."""
