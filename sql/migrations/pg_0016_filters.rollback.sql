-- Removes the compiler of filters.
drop function kompanion.compile_filter(jsonb);
drop function kompanion._filter_predicate(jsonb, boolean, integer);
drop function kompanion._filter_operator(text, text, jsonb, boolean);
drop function kompanion._raise_bad_filter(text);
