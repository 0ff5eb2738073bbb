-- Removes the vector indexes and what builds them.
do $$ begin perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true); end $$;
do $$
declare
    v_name text;
begin
    for v_name in select c.relname from pg_class c
                  where c.relnamespace = 'kompanion'::regnamespace and c.relkind = 'i' and c.relname like 'embeddings\_ann\_%' loop
        execute format('drop index kompanion.%I', v_name);
    end loop;
end
$$;
drop function kompanion.ensure_index(text, text, integer, boolean);
drop function kompanion.swap_index(text, bigint, bigint);
drop function kompanion.record_index(text, bigint, bigint);
drop function kompanion.index_statements(text, text, integer, boolean, boolean);
